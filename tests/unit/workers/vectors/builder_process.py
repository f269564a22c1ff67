"""A process that builds one snapshot after another until it is killed."""

from multiprocessing.connection import Connection
from pathlib import Path

from tests.unit.workers.vectors.conftest import SCHEMA, made_entries
from workers.vectors import space
from workers.vectors.shelf import Shelf


def build_for_ever(folder: str, told: "Connection[str, str]") -> None:
    """Say when it begins, and the name of each snapshot; what was published must always do as a base."""
    space.SCANNED_ROWS_MAX = 300  # so that a graph is made, too
    shelf, entries = Shelf(Path(folder)), made_entries(600)
    told.send("ready")
    while True:
        base = next(iter(reversed(shelf.names())), None)
        with shelf.building(SCHEMA, base=base) as build:
            for entry in entries:
                build.put(entry)
            told.send(build.publish())
        shelf.clean(last=2)
