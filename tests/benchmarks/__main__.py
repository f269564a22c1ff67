"""Run the benchmarks and print what they found."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from tests.benchmarks import backlog, chunk_cost, exports, fan_out, imports, providers, submits
from tests.benchmarks.figures import Figure, machine, table_of
from tests.benchmarks.stage import staged

# In this order whichever are asked for: each starts more of the machine than the one before, and stops nothing.
BENCHMARKS: Mapping[str, Callable[..., list[Figure]]] = {
    "submits": submits.measure,
    "providers": providers.measure,
    "backlog": backlog.measure,
    "chunk-cost": chunk_cost.measure,
    "fan-out": fan_out.measure,
    "import": imports.measure,
    "export": exports.measure,
}
USUAL = ("submits", "backlog", "chunk-cost", "fan-out")
"""What runs unless others are named; the rest takes long, and has a target of its own."""


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)} (all but import, providers, export)",
    )
    parser.add_argument("--short", action="store_true", help="see that it works: too short for the goals to mean much")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args(given)
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(BENCHMARKS)}")
    return arguments


def _show(found: Sequence[Figure], where: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {value}" for name, value in where.items()))
    console.print(table_of(found))
    for figure in found:
        if figure.note:
            console.print(f"  {figure.name}: {figure.note}", markup=False)


def main(given: Sequence[str] | None = None) -> None:
    """Run what was asked for, on one machine, one after the other."""
    arguments = _arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all that was started is ended then, too
    where = machine()
    found: list[Figure] = []
    with staged() as stage:
        for name in filter(set(arguments.names or USUAL).__contains__, BENCHMARKS):
            started = time.monotonic()
            found += BENCHMARKS[name](stage, is_short=arguments.short)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"machine": where, "figures": [figure.to_json() for figure in found]}, indent=2))
    else:
        _show(found, where)


if __name__ == "__main__":
    main()
