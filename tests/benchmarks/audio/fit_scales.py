"""Fit the scales of the perceptual measures to recorded music: print what `workers.audio.perceptual` holds.

Usage: python -m tests.benchmarks.audio.fit_scales [FOLDER]: a folder of music in place of the corpus's recordings.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from tests.benchmarks.audio import corpus
from tests.benchmarks.audio.__main__ import FOLDER
from tests.benchmarks.kernel import decode
from workers.audio import onsets, rhythm
from workers.audio.extractor import trim, unit_rms
from workers.audio.perceptual import Measures, measure

LOW, HIGH = 5, 95  # percentiles
SPREAD = 2 * 2.2  # logistic widths between 0.1 and 0.9


def measures_of(path: Path) -> dict[str, float]:
    """Return the measures of one recording."""
    mono, _ = decode(path)[1].collect()
    fast = onsets.detect(unit_rms(trim(mono)[0]))
    return asdict(measure(fast, rhythm.estimate(fast)))


def main(arguments: Sequence[str]) -> None:
    """Measure all and print a line for each measure."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    paths = sorted(Path(arguments[0]).rglob("*.*")) if arguments else corpus.recorded(FOLDER.resolve())
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(measures_of, paths))
    for field in fields(Measures):
        values = [one[field.name] for one in found]
        low, middle, high = np.percentile(values, [LOW, 50, HIGH])
        print(f"{field.name:12}Scale({middle:.3f}, {(high - low) / SPREAD:.3f})  from {len(values)} recordings")


if __name__ == "__main__":
    main(sys.argv[1:])
