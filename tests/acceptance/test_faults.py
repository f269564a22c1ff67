"""Whatever dies in mid-job, the job ends by itself, and its results are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from shared import broker
from shared.broker import Queue
from shared.clock import now
from shared.items import ItemStatus
from shared.store import chunks
from shared.store.job_record import JobStatus
from tests.acceptance.conftest import Client
from tests.waiting import wait_until

ITEMS = 120
SECONDS = 0.05


def kill_worker_child(client: Client) -> None:
    os.kill(client.machine.heavy.children()[-1], signal.SIGKILL)


def kill_whole_worker(client: Client) -> None:
    client.machine.heavy.kill()
    client.machine.heavy.start()


def kill_every_worker(client: Client) -> None:
    for part in client.machine.workers:
        part.kill()
    client.machine.heal()


def kill_valkey(client: Client) -> None:
    client.machine.servers.valkey.kill()
    client.machine.servers.valkey.start()


def kill_mongodb(client: Client) -> None:
    client.machine.servers.mongo.kill()
    client.machine.servers.mongo.start()


def flush_redis(client: Client) -> None:
    client.flush_redis()


def drop_redis_connections(client: Client) -> None:
    client.drop_redis_connections()


def deploy(client: Client) -> None:
    for part in client.machine.workers:
        assert part.terminate(seconds=20) == 0
    client.machine.heal()


def steal_every_lease(client: Client) -> None:
    """Make every chunk that is being worked on claimable, so that a second worker takes it, too."""
    client.db[chunks.COLLECTION].update_many({"visibleAt": {"$ne": None}}, {"$set": {"visibleAt": now()}})
    broker.ring_run(Queue.CPU, 10)


FAULTS = (
    kill_worker_child,
    kill_whole_worker,
    kill_every_worker,
    kill_valkey,
    kill_mongodb,
    flush_redis,
    drop_redis_connections,
    deploy,
    steal_every_lease,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_mid_job_changes_nothing_in_its_results(
    client: Client, owner: str, fault: Callable[[Client], None]
) -> None:
    job = client.submit("squares", userId=owner, items=ITEMS, seconds=SECONDS, fails=[7, 77])
    client.wait_for_progress(job.id, 15)

    fault(client)

    ended = client.wait(job.id, seconds=90)
    assert ended.status is JobStatus.PARTIAL
    assert ended.error is None
    assert (ended.progress.total, ended.progress.succeeded, ended.progress.failed) == (ITEMS, ITEMS - 2, 2)
    items = client.items(job.id)
    assert [item.index for item in items] == list(range(ITEMS))
    assert [item.index for item in items if item.status is ItemStatus.FAILED] == [7, 77]
    assert client.squares(owner) == {n: n * n for n in range(ITEMS) if n not in (7, 77)}


def test_chunks_delivered_twice_are_counted_once(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=ITEMS, seconds=0.02)
    stop = threading.Event()

    def ring_everything_again() -> None:
        while not stop.wait(0.05):
            broker.ring_run(Queue.CPU, 4)
            broker.ring_plan([job.id])
            broker.ring_finish(job.id)

    echo = threading.Thread(target=ring_everything_again)
    echo.start()
    ended = client.wait(job.id)
    stop.set()
    echo.join()

    assert ended.status is JobStatus.SUCCEEDED
    assert [item.index for item in client.items(job.id)] == list(range(ITEMS))
    assert len(client.begun(job.id)) == ITEMS


def test_a_job_submitted_while_redis_is_down_is_done_once_it_is_back(client: Client, owner: str) -> None:
    client.machine.servers.valkey.kill()

    job = client.submit("squares", userId=owner, items=10)
    client.machine.servers.valkey.start()

    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_an_item_that_kills_its_worker_is_left_out_and_the_rest_goes_on(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=12, crashes=[4])

    ended = client.wait(job.id, seconds=90)

    assert ended.status is JobStatus.PARTIAL
    bad = [item for item in client.items(job.id) if item.status is ItemStatus.FAILED]
    assert [(item.index, item.error.code if item.error else None) for item in bad] == [(4, "poison")]
    assert ended.progress.succeeded == 11


def test_an_item_that_was_in_work_when_the_worker_died_once_is_not_blamed(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=12, crashes_once=[4])

    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_an_item_that_hangs_is_stopped_and_the_rest_goes_on(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=12, hangs=[4])

    ended = client.wait(job.id, seconds=60)

    assert ended.status is JobStatus.PARTIAL
    bad = [item for item in client.items(job.id) if item.status is ItemStatus.FAILED]
    assert [(item.index, item.error.code if item.error else None) for item in bad] == [(4, "timed_out")]


def test_an_item_that_hangs_with_the_interpreter_lock_held_is_left_out(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=3, hangs_locked=[1])

    ended = client.wait(job.id, seconds=120)

    bad = [item for item in client.items(job.id) if item.status is ItemStatus.FAILED]
    assert [(item.index, item.error.code if item.error else None) for item in bad] == [(1, "poison")]
    assert ended.progress.succeeded == 2


def test_an_item_that_asks_for_too_much_memory_fails_alone(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=4, hungers=[2])

    ended = client.wait(job.id)

    bad = [item for item in client.items(job.id) if item.status is ItemStatus.FAILED]
    assert [(item.index, item.error.code if item.error else None) for item in bad] == [(2, "out_of_memory")]
    assert ended.progress.succeeded == 3


def test_work_that_always_fails_around_its_items_is_given_up(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=2, merge_fails=True)

    ended = client.wait(job.id, seconds=60)

    assert ended.status is JobStatus.FAILED
    assert "RuntimeError: the merge can't go on" in str(ended.error)
    assert {item.error.code for item in client.items(job.id) if item.error} == {"gave_up"}


def test_a_stopping_worker_gives_its_chunk_back_at_once(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=12, seconds=0.5)
    wait_until(lambda: client.begun(job.id), what="the first item")

    assert client.machine.heavy.terminate(seconds=15) == 0

    assert not client.db[chunks.COLLECTION].find_one({"jobId": job.id, "process": {"$ne": None}})
    client.machine.heal()
    assert client.wait(job.id, seconds=60).status is JobStatus.SUCCEEDED
