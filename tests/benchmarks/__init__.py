"""What Backline costs, as ratios from one run: ``python -m tests.benchmarks [--short] [--json] [NAME ...]``."""

from __future__ import annotations

import os

# Before any kind of job is looked up: the kind that does nothing belongs to the tests.
os.environ["BACKLINE_JOB_MODULES"] = "tests.kinds"
