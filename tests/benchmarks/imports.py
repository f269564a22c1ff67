"""What it costs to make a release searchable, by stage, and how far that is from the embedder's own speed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median

import numpy as np

from shared.store import catalogue, indexes
from tests.benchmarks.bare_embedder import BareModel
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.stage import PROCESSES, Stage
from tests.catalogue_data import entries, write_release
from workers.indexing.catalogue import text_of

ENTRIES = 40_000
BARE_SAMPLE = 2_000  # texts that the bare model embeds, before and after
SECONDS_MAX = 1_200.0
BARE = {True: "the published model", False: "the embedder's own model"}


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return entries a CPU second of each stage, and how the whole compares with nothing but the model."""
    count = 1_000 if is_short else ENTRIES
    release = stage.folder / "release.jsonl.zst"
    write_release(release, entries(count), "2026-11-15")
    stage.start(*stage.crew)
    import_seconds, import_cpu = _run(stage, "catalogue_import", path=str(release), index=False)
    texts = _texts(stage, BARE_SAMPLE if not is_short else 200)
    before = _bare_rates(texts)
    index_seconds, index_cpu = _run(stage, "vector_index")
    after = _bare_rates(texts)
    build_seconds, build_cpu = _run(stage, "vector_index", rebuild=True)
    pointer = indexes.find(stage.db, "local", "catalogue")
    assert pointer is not None
    assert pointer.entries == count
    whole = import_seconds + index_seconds
    return [
        Figure(
            name="import: entries a CPU second", value=count / import_cpu, unit="1/s", note=f"{import_seconds:.1f} s"
        ),
        Figure(
            name="embed: entries a CPU second",
            value=count / max(index_cpu - build_cpu, 1e-9),
            unit="1/s",
            note=f"{index_seconds - build_seconds:.1f} s",
        ),
        Figure(name="build: entries a CPU second", value=count / build_cpu, unit="1/s", note=f"{build_seconds:.1f} s"),
        Figure(name="release to searchable", value=count / whole, unit="entries/s", note=f"{whole:.1f} s"),
        *(
            Figure(
                name=f"release to searchable beside {BARE[is_published]}, bare",
                value=count / median(rates) / whole,
                unit="",
                at_least=0.9 if is_published else None,
                note=f"bare {spread(rates, 0)} texts/s on {PROCESSES} cores",
            )
            for is_published, rates in zip(BARE, zip(before, after, strict=True), strict=True)
        ),
    ]


def _run(stage: Stage, kind: str, **request: object) -> tuple[float, float]:
    """Run a job; return its seconds, and the heavy worker's processor time."""
    before = stage.cpu()["heavy"]
    _, seconds = stage.run(kind, seconds_max=SECONDS_MAX, **request)
    return seconds, stage.cpu()["heavy"] - before


def _texts(stage: Stage, count: int) -> list[str]:
    ids = list(catalogue.iterate_ids(stage.db))
    chosen = np.random.default_rng(1).choice(ids, min(count, len(ids)), replace=False).tolist()
    return [text_of(entry) for entry in catalogue.find_many(stage.db, chosen).values()]


def _bare_rates(texts: Sequence[str]) -> list[float]:
    """Return how many texts a second each bare model takes in, cut to tokens beforehand, on as many cores as work."""
    return [_bare_rate(texts, is_published) for is_published in BARE]


def _bare_rate(texts: Sequence[str], is_published: bool) -> float:
    parts = [texts[place::PROCESSES] for place in range(PROCESSES)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        bare = partial(_bare_seconds, is_published)
        list(pool.map(bare, [part[:8] for part in parts]))  # starts the processes
        started = time.monotonic()
        spent = list(pool.map(bare, parts))
        took = time.monotonic() - started
    return len(texts) / min(took, max(spent))


def _bare_seconds(is_published: bool, texts: Sequence[str]) -> float:
    model = BareModel(is_published=is_published)
    batches = model.batches_of(texts)
    started = time.monotonic()
    model.run(batches)
    return time.monotonic() - started
