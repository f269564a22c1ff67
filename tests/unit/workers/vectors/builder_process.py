"""Builds one snapshot after another until it is killed: `python builder_process.py FOLDER`; each line is a moment."""

import sys
from pathlib import Path

from tests.unit.workers.vectors.conftest import SCHEMA, made_entries
from workers.vectors import space
from workers.vectors.errors import VectorsError
from workers.vectors.shelf import Shelf


def main() -> None:
    space.SCANNED_ROWS_MAX = 300  # so that a graph is made, too
    shelf, entries = Shelf(Path(sys.argv[1])), made_entries(600)
    print("ready", flush=True)
    while True:
        base = next(iter(reversed(shelf.names())), None)
        with shelf.building(SCHEMA, base=base) as build:
            for entry in entries:
                build.put(entry)
            print(build.publish(), flush=True)
        shelf.clean(last=2)


if __name__ == "__main__":
    try:
        main()
    except VectorsError as error:  # what was published must always do as a base
        sys.exit(f"{error.code}: {error.message}")
