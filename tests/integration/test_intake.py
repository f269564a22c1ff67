"""New jobs that come at the same time are stored together, and what is wrong with one is no other's harm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from bson.errors import BSONError
from pymongo import monitoring
from pymongo.errors import ServerSelectionTimeoutError

from api.connection import Connection
from api.intake import BATCH_MAX, Intake
from shared.errors import ServiceUnavailable
from shared.jobs import get_kind
from shared.lifecycle import new_job, validate_request
from shared.model import Db
from shared.settings import Settings
from shared.store.database import StoreError, connect
from shared.store.job_record import JobRecord

TOO_MANY = 2_000_000
"""As many numbers are a body of 4 MB, and more than MongoDB's 16 MB for a document."""


class Inserts(monitoring.CommandListener):
    """Counts the commands that insert."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.count += event.command_name == "insert"

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


def job_of(user: str, *, key: str | None = None, fails: Sequence[int] = ()) -> JobRecord:
    kind = get_kind("squares")
    return new_job(kind, validate_request(kind, {"userId": user, "fails": fails}), idempotency_key=key)


def store(settings: Settings, jobs: Sequence[JobRecord], *, through: Db | None = None) -> list[bool | BaseException]:
    """Hand jobs in at the same time; return whether each is new, or what it was refused with."""

    async def hand_in() -> list[bool | BaseException]:
        connection = Connection(settings)
        if through is not None:
            connection.close()
            connection._db = through
        intake = Intake(connection)
        running = asyncio.create_task(intake.run())
        try:
            return await asyncio.gather(*map(intake.insert, jobs), return_exceptions=True)
        finally:
            running.cancel()
            connection.close()

    return asyncio.run(hand_in())


def test_jobs_that_come_at_the_same_time_are_stored_by_one_command(settings: Settings, db: Db) -> None:
    inserts = Inserts()

    assert store(settings, [job_of("ada") for _ in range(50)], through=connect(settings, listeners=[inserts])) == (
        [True] * 50
    )

    assert db["jobs"].count_documents({}) == 50
    assert inserts.count == 1


def test_of_jobs_with_one_key_at_the_same_time_one_is_new(settings: Settings, db: Db) -> None:
    found = store(settings, [job_of("ada", key="once") for _ in range(5)] + [job_of("bob", key="once"), job_of("ada")])

    assert sorted(found[:5], key=bool) == [False] * 4 + [True]
    assert found[5:] == [True, True]
    assert db["jobs"].count_documents({}) == 3


def test_what_is_wrong_with_one_job_is_no_others_harm(settings: Settings, db: Db) -> None:
    unfit = job_of("ada").model_copy(update={"request": {"number": 1 << 70}})

    fine, large, odd, last = store(
        settings, [job_of("ada"), job_of("ada", fails=range(TOO_MANY)), unfit, job_of("bob")]
    )

    assert (fine, last) == (True, True)
    assert isinstance(large, StoreError | BSONError)
    assert isinstance(odd, OverflowError)
    assert db["jobs"].count_documents({}) == 2


def test_once_mongodb_has_not_answered_those_behind_are_refused_at_once(settings: Settings) -> None:
    away = settings.model_copy(update={"mongodb_uri": "mongodb://127.0.0.1:1/?directConnection=true"})
    through = connect(away, timeout_seconds=0.2)

    found = store(away, [job_of("ada") for _ in range(3 * BATCH_MAX)], through=through)

    assert {type(one) for one in found[:BATCH_MAX]} == {ServerSelectionTimeoutError}
    assert {type(one) for one in found[BATCH_MAX:]} == {ServiceUnavailable}


def test_each_of_many_clients_gets_its_own_job(api: httpx.Client, db: Db) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda n: api.post("/api/jobs/squares", json={"userId": f"u{n}", "items": 1}), range(100))
        )

    assert [answer.status_code for answer in answers] == [202] * 100
    stored = {document["_id"]: document["userId"] for document in db["jobs"].find({}, {"userId": 1})}
    assert stored == {answer.json()["id"]: f"u{n}" for n, answer in enumerate(answers)}
