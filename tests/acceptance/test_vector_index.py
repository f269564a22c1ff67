"""Whoever searches meets a whole index, whatever becomes of those who build it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pymongo import UpdateMany

from shared.clock import now
from shared.store import catalogue, indexes
from shared.store.catalogue import CatalogueEntry
from shared.store.job_record import JobStatus
from tests.acceptance.conftest import Client
from workers.vectors.errors import SnapshotMissing
from workers.vectors.shelf import Shelf

OWNER = "local"
ENTRIES = 120
KILLS = 20
FIRST = 1900
"""The year of every entry in the first generation; in the n-th it is n years later."""


def begin_generation(client: Client, year: int) -> None:
    """Have every entry say the same of itself, and something else than before."""
    moment = now()
    if year == FIRST:
        entries = [
            CatalogueEntry(
                id=f"mal-{number}",
                catalogue="anime",
                form="anime",
                title=f"Title {number}",
                year=year,
                created_at=moment,
                updated_at=moment,
            )
            for number in range(ENTRIES)
        ]
        client.db[catalogue.COLLECTION].insert_many([one.to_document() for one in entries])
    changes = {"title": f"Title of {year}", "year": year, "updatedAt": moment}
    client.db[catalogue.COLLECTION].bulk_write([UpdateMany({}, {"$set": changes})])


def years_searched(client: Client) -> Counter[object]:
    """Return how many entries say what, in what is searched now, read as a search server does."""
    while True:
        pointer = indexes.find(client.db, OWNER, "catalogue")
        assert pointer is not None
        shelf = Shelf(indexes.folder(client.settings.index_dir, OWNER, "catalogue"))
        with suppress(SnapshotMissing), shelf.open(pointer.snapshot) as snapshot:  # it was swung twice meanwhile
            return Counter(snapshot.entry(one).attributes["year"] for one in snapshot.ids())


@contextmanager
def reading(client: Client) -> Iterator[list[Counter[object]]]:
    """Read all the time."""
    seen: list[Counter[object]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.02):
            seen.append(years_searched(client))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
    finally:
        ended.set()
        reader.join()


def kill_the_builder(client: Client, chance: random.Random) -> None:
    """Kill whichever worker processes are busy, at some moment of the next seconds."""
    time.sleep(chance.uniform(0.05, 0.9))
    for pid in client.machine.heavy.children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_builder_that_is_killed_at_any_moment_leaves_a_whole_index(client: Client) -> None:
    chance = random.Random(5)
    begin_generation(client, FIRST)
    first = client.submit("vector_index")
    assert client.wait(first.id).status is JobStatus.SUCCEEDED

    with reading(client) as seen:
        for generation in range(1, KILLS + 1):
            begin_generation(client, FIRST + generation)
            job = client.submit("vector_index")
            kill_the_builder(client, chance)
            assert client.wait(job.id).status is JobStatus.SUCCEEDED, client.items(job.id)
            assert years_searched(client) == {FIRST + generation: ENTRIES}

    assert len(seen) > KILLS
    assert {len(years) for years in seen} == {1}, "a reader saw half an update"
    assert {sum(years.values()) for years in seen} == {ENTRIES}
    folder = indexes.folder(client.settings.index_dir, OWNER, "catalogue")
    assert [name for name in os.listdir(folder) if name.startswith(".")] == [".lock"]
