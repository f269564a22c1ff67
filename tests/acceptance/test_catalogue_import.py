"""An import whose workers are killed ends as if none had been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from shared.model import Json
from shared.store import catalogue, imports
from shared.store.job_record import JobStatus
from tests.acceptance.conftest import Client
from tests.catalogue_data import entries, write_release

ENTRIES = 6000
KILLS = 4
VARYING = ("createdAt", "updatedAt", "seenIn", "lastChange")


def stored(client: Client) -> dict[str, Json]:
    """Return what is in the catalogue, without what differs from job to job."""
    return {
        one["_id"]: {name: value for name, value in one.items() if name not in VARYING}
        for one in client.db[catalogue.COLLECTION].find()
    }


def clear(client: Client) -> None:
    for name in (catalogue.COLLECTION, imports.COLLECTION):
        client.db[name].delete_many({})


def test_an_import_whose_workers_are_killed_stores_the_same(client: Client, music: Path) -> None:
    path = str(write_release(music / "release.jsonl.zst", entries(ENTRIES)))
    clear(client)
    calm = client.wait(client.submit("catalogue_import", path=path, index=False).id, seconds=120)
    assert calm.status is JobStatus.SUCCEEDED
    expected = stored(client)
    assert len(expected) == ENTRIES
    clear(client)

    job = client.submit("catalogue_import", path=path, index=False)
    for kill in range(KILLS):
        client.wait_for_progress(job.id, 1 + kill * ENTRIES // (2 * KILLS))
        for pid in client.machine.heavy.children()[-1:]:
            os.kill(pid, signal.SIGKILL)
    ended = client.wait(job.id, seconds=120)

    assert (ended.status, ended.progress.succeeded) == (JobStatus.SUCCEEDED, ENTRIES + 1)
    assert stored(client) == expected
    assert ended.summary is not None
    assert (ended.summary["new"], ended.summary["settled"]) == (ENTRIES, True)
    clear(client)
