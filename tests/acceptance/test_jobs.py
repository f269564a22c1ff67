"""The life of a job on real workers: cancel, retry, quota, fairness, schedules."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise

import pytest

from shared import broker, lifecycle
from shared.access import DEFAULT_OWNER
from shared.broker import Queue
from shared.clock import now
from shared.errors import JobFinished, JobNotFinished, NothingToRetry
from shared.items import ItemStatus
from shared.store import chunks, jobs, schedules
from shared.store.job_record import JobStatus
from shared.store.schedules import Schedule
from tests.acceptance.conftest import Client
from tests.waiting import wait_until


def test_no_item_starts_five_seconds_after_a_cancel(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=2000, seconds=0.05)
    client.wait_for_progress(job.id, 20)

    lifecycle.cancel(client.db, job.id)
    acknowledged_at = now()
    ended = client.wait(job.id, seconds=15)

    assert ended.status is JobStatus.CANCELLED
    assert (ended.finished_at or now()) - acknowledged_at < timedelta(seconds=5)
    assert all(one["at"] - acknowledged_at < timedelta(seconds=5) for one in client.begun(job.id))
    assert ended.progress.succeeded == len(client.squares(owner)) > 0
    assert not client.db[chunks.COLLECTION].find_one({"jobId": job.id})


def test_a_cancelled_job_is_not_revived_by_messages_that_come_late(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=500, seconds=0.05)
    client.wait_for_progress(job.id, 10)
    lifecycle.cancel(client.db, job.id)
    client.wait(job.id)
    begun = len(client.begun(job.id))

    broker.ring_plan([job.id])
    broker.ring_run(Queue.CPU, 5)
    broker.ring_finish(job.id)
    other = client.submit("squares", userId=owner, items=20)
    client.wait(other.id)

    assert client.job(job.id).status is JobStatus.CANCELLED
    assert len(client.begun(job.id)) == begun


def test_a_job_cancelled_before_its_plan_ends_without_an_item(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=1000, seconds=1.0, plan_seconds=0.01)
    lifecycle.cancel(client.db, job.id)

    ended = client.wait(job.id, seconds=20)

    assert ended.status is JobStatus.CANCELLED
    assert not client.begun(job.id)


def test_a_finished_job_can_not_be_cancelled(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=3)
    client.wait(job.id)

    with pytest.raises(JobFinished):
        lifecycle.cancel(client.db, job.id)


def test_a_retry_takes_up_only_what_failed(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=30, fails_once=[3, 12, 13], fails=[29])
    assert client.wait(job.id).status is JobStatus.PARTIAL
    begun = len(client.begun(job.id))

    lifecycle.retry(client.db, job.id)
    client.ring(job.id)
    ended = client.wait(job.id)

    assert (ended.epoch, ended.status) == (1, JobStatus.PARTIAL)
    assert (ended.progress.succeeded, ended.progress.failed, ended.progress.total) == (29, 1, 30)
    assert len(client.begun(job.id)) == begun + 3
    items = client.items(job.id)
    assert sorted(item.index for item in items) == list(range(30))
    assert [item.index for item in items if item.status is ItemStatus.FAILED] == [29]


def test_a_retry_of_a_cancelled_job_does_the_rest(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=300, seconds=0.02)
    client.wait_for_progress(job.id, 40)
    lifecycle.cancel(client.db, job.id)
    assert client.wait(job.id).status is JobStatus.CANCELLED

    lifecycle.retry(client.db, job.id)
    client.ring(job.id)
    ended = client.wait(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert sorted(item.index for item in client.items(job.id)) == list(range(300))
    assert client.squares(owner) == {n: n * n for n in range(300)}
    assert len(client.begun(job.id)) == 300


def test_a_running_or_good_job_can_not_be_retried(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=20, seconds=0.1)
    with pytest.raises(JobNotFinished):
        lifecycle.retry(client.db, job.id)

    client.wait(job.id)
    with pytest.raises(NothingToRetry):
        lifecycle.retry(client.db, job.id)


def test_a_spent_budget_parks_the_job_and_it_resumes_by_itself(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=5, quota=[2], quota_seconds=3.0)

    waiting = wait_until(
        lambda: jobs.find(client.db, job.id) if client.job(job.id).status is JobStatus.WAITING_QUOTA else None,
        what="the wait for the budget",
    )
    assert waiting.resumes_at is not None
    held = {"jobId": job.id, "process": {"$ne": None}}
    wait_until(lambda: not client.db[chunks.COLLECTION].find_one(held), seconds=2, what="the release of every chunk")

    ended = client.wait(job.id)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.resumes_at is None


def test_a_small_job_behind_a_huge_one_starts_within_seconds(client: Client, owner: str) -> None:
    huge = client.submit("squares", userId=owner, items=100_000, seconds=0.1)
    client.wait_for_progress(huge.id, 20)

    submitted_at = time.monotonic()
    small = client.submit("squares", userId=f"{owner}-b", items=4, seconds=0.01)
    assert client.wait(small.id).status is JobStatus.SUCCEEDED
    waited = time.monotonic() - submitted_at

    assert client.job(huge.id).status is JobStatus.RUNNING
    lifecycle.cancel(client.db, huge.id)
    client.wait(huge.id)
    assert waited < 10.0


def test_a_due_schedule_submits_one_job_a_slot_however_many_beats_ring(client: Client, owner: str) -> None:
    moment = now()
    name = owner.replace("_", "-")
    schedules.insert(
        client.db,
        Schedule(
            id=schedules.schedule_id(DEFAULT_OWNER, name),
            name=name,
            owner=DEFAULT_OWNER,
            user_id=owner,
            kind="squares",
            request={"userId": owner, "items": 2},
            every_seconds=1.0,
            next_at=moment - timedelta(hours=5),
            created_at=moment,
            updated_at=moment,
        ),
    )

    wait_until(lambda: client.db["jobs"].count_documents({"schedule": name}) >= 3, what="three slots")
    schedules.delete(client.db, DEFAULT_OWNER, name)
    wait_until(
        lambda: (
            not client.db["jobs"].count_documents(
                {"schedule": name, "status": {"$in": ["queued", "running", "finalising"]}}
            )
        ),
        what="the end of the scheduled jobs",
    )

    made = sorted(job["createdAt"] for job in client.db["jobs"].find({"schedule": name}))
    assert all(later - earlier > timedelta(seconds=0.5) for earlier, later in pairwise(made))


def test_a_plan_that_fails_ends_the_job_with_the_reason(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=20, plan_fails_at=5)

    ended = client.wait(job.id)

    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error.code == "unexpected"


def test_a_job_that_leads_to_nothing_fails_and_says_so(client: Client, owner: str) -> None:
    job = client.submit("squares", userId=owner, items=0)

    ended = client.wait(job.id)

    assert (ended.status, ended.error.code if ended.error else None) == (JobStatus.FAILED, "no_items")
