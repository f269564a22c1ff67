"""Exports and imports whose workers or database are killed end as if none had been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from shared.model import Json
from shared.store.database import StoreError
from shared.store.job_record import JobRecord, JobStatus
from tests.acceptance.conftest import Client
from tests.exported import checked_download, read

COLLECTION = "listening_history"
ROWS = 12_000
NOTE_BYTES = 4_000
"""So much that a part of an export is a thousand documents."""
BATCH = 500
PLAYED = datetime(2026, 11, 20, 17, 45, tzinfo=UTC)
FORMS = (("json", "gzip"), ("jsonl", "zstd"), ("csv", "gzip"), ("parquet", "zstd"))


def kill_worker_child(client: Client) -> None:
    for pid in client.machine.heavy.children()[-1:]:
        os.kill(pid, signal.SIGKILL)


def kill_every_worker(client: Client) -> None:
    for part in client.machine.workers:
        part.kill()
    client.machine.heal()


def kill_mongodb(client: Client) -> None:
    client.machine.servers.mongo.kill()
    client.machine.servers.mongo.start()


FAULTS: tuple[Callable[[Client], None], ...] = (kill_worker_child, kill_mongodb, kill_every_worker)


def play(number: int, chance: Random) -> Json:
    return {
        "_id": f"play{number:06}",
        "userId": f"user{number % 7}",
        "trackId": f"a track, the {number}th\n",
        "playedAt": PLAYED + timedelta(seconds=number),
        "device": {"name": "ü", "os": None},
        "note": chance.randbytes(NOTE_BYTES // 2).hex(),
        **({"labels": ["a", 1], "rating": 4.5} if number > ROWS // 2 else {}),
    }


@pytest.fixture(scope="module")
def plays() -> list[Json]:
    """A listening history whose documents are not all alike."""
    chance = Random(6)
    return [play(number, chance) for number in range(ROWS)]


@pytest.fixture
def library(client: Client, plays: list[Json]) -> Iterator[Client]:
    """The client, whose library holds the plays."""
    client.db[COLLECTION].delete_many({})
    for start in range(0, ROWS, BATCH):
        client.db[COLLECTION].insert_many(plays[start : start + BATCH])
    yield client
    client.db[COLLECTION].delete_many({})


def disturbed(client: Client, kind: str, total: int, **request: object) -> JobRecord:
    """See a job through one fault after the other, each in the middle of its work."""
    job = client.submit(kind, **request)
    for number, fault in enumerate(FAULTS):
        wait_for_progress(client, job.id, 1 + number * total // (len(FAULTS) + 1))
        assert not client.job(job.id).status.is_final, "it ended before it could be disturbed"
        fault(client)
    ended = client.wait(job.id, seconds=180)
    assert ended.status is JobStatus.SUCCEEDED, (ended.error, [one.error for one in client.items(job.id) if one.error])
    return ended


def wait_for_progress(client: Client, job_id: str, done: int) -> None:
    while True:
        with suppress(StoreError):  # the server that was killed is on its way back
            client.wait_for_progress(job_id, done)
            return


@pytest.mark.parametrize(("form", "compression"), FORMS)
def test_an_export_and_its_import_survive_every_kill(
    library: Client, plays: list[Json], form: str, compression: str
) -> None:
    request = {"format": form, "collections": [COLLECTION], "options": {"compression": compression}}

    exported = disturbed(library, "data_export", ROWS // 1000, **request)

    assert exported.summary is not None
    (file,) = exported.summary["files"]
    assert file["rows"] == ROWS
    assert sorted(read(form, checked_download(library.db, file)), key=lambda one: one["_id"]) == plays

    if form == "json":  # which no import reads
        return
    library.db[COLLECTION].delete_many({"_id": {"$gte": "play000100"}})
    library.db[COLLECTION].update_one({"_id": "play000007"}, {"$set": {"device": "another"}})
    source = {"collection": COLLECTION, "format": form, "artifactId": file["artifactId"]}

    imported = disturbed(library, "data_import", ROWS, **source)

    assert imported.progress.total == ROWS
    assert list(library.db[COLLECTION].find().sort("_id", 1)) == plays
