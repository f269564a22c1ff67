"""Measure the audio kernel: accuracy against truth, calibration, processor time and memory, beside its peers.

The corpus is made in build/bench-audio on the first run (Debian packages and a throw-away environment, ten minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks.audio import accuracy, corpus, cost, truth, values
from tests.benchmarks.audio.truth import Half
from tests.benchmarks.figures import Figure, machine, table_of
from workers.audio.features import Effort

FOLDER = Path("build/bench-audio")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.audio", description=__doc__)
    parser.add_argument("--dataset", type=Path, metavar="FILE", help="JSON Lines of path, tempo, key, mode, metre")
    parser.add_argument("--half", type=Half, choices=list(Half), default=Half.HELD_OUT, help="of the corpus (held-out)")
    parser.add_argument(
        "--effort", type=Effort, choices=list(Effort), default=Effort.FULL, help="of the accuracy (full)"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out librosa and Essentia")
    parser.add_argument("--no-cost", action="store_true", help="leave out processor time and memory by format")
    parser.add_argument("--no-spread", action="store_true", help="leave out how the features of recorded music spread")
    parser.add_argument("--misses", action="store_true", help="list every recording whose tempo or key is wrong")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Make what is missing, measure, print."""
    arguments = _arguments(given)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the stack sets it: the processes fan out, not the library
    folder, where = FOLDER.resolve(), machine()
    truths = truth.load(arguments.dataset) if arguments.dataset else corpus.make(folder)
    chosen = truths if arguments.dataset else [one for one in truths if one.half is arguments.half]
    peers = None if arguments.no_peers else corpus.environment(folder)
    report = accuracy.measure(chosen, peers, arguments.effort)
    figures: list[Figure] = list(report.figures)
    if not arguments.no_cost:
        figures += cost.measure(corpus.recorded(folder), peers)
    if arguments.json:
        print(json.dumps({"machine": where, "figures": [one.to_json() for one in figures]}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in where.items()))
    console.print(table_of(figures))
    spread = () if arguments.no_spread else values.spread_of(corpus.recorded(folder))
    for line in (*report.reliability, *spread, *(report.misses if arguments.misses else ())):
        console.print(line, markup=False)


if __name__ == "__main__":
    try:
        main()
    except corpus.CorpusError as error:
        sys.exit(str(error))
