"""The API of this process's code under a real HTTP server, and a stand-in for the workers behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from shared.access import DEFAULT_OWNER
from shared.clock import new_id, now
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.keys import KEY_FILE, read_key_file
from shared.lifecycle import submit, validate_request
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import jobs, outcomes
from shared.store.job_record import JobError, JobRecord, JobStatus
from shared.store.outcomes import Outcome, StoredError, StoredItem
from tests.waiting import wait_until

TTL = timedelta(days=1)


class Server:
    """An application that is served on a loopback port, from a thread."""

    def __init__(self, app: Starlette, *, port: int = 0) -> None:
        self.app = app
        config = uvicorn.Config(app, port=port, lifespan="on", log_config=None, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._server.run, name="api")

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive(), what="the API's start")
        assert self._server.started, "the API did not start"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def serving(settings: Settings, *, port: int = 0) -> Iterator[httpx.Client]:
    """Serve the API with these settings and give a client of it, which has the key to everything."""
    with TemporaryDirectory() as folder:
        path = settings.api_key_file or Path(folder) / KEY_FILE
        server = Server(create_app(settings.model_copy(update={"api_key_file": path})), port=port)
        server.start()
        try:
            headers = bearer(read_key_file(path).text)
            with httpx.Client(base_url=server.url, headers=headers, timeout=20.0) as client:
                yield client
        finally:
            server.stop()


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


class Worker:
    """Moves jobs on as the workers would, one step at a time, so that a test sees each state."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def submit(
        self, kind: str = "squares", *, owner: str = DEFAULT_OWNER, user: str = "ada", **request: Any
    ) -> JobRecord:
        """Store a job without the API."""
        form = get_kind(kind)
        job, _ = submit(self.db, form, validate_request(form, {"userId": user, **request}), owner=owner)
        return job

    def find(self, user: str, key: str) -> JobRecord:
        """Wait for the job that comes in under this idempotency key."""
        job = wait_until(
            lambda: jobs.find_by_idempotency_key(self.db, DEFAULT_OWNER, user, key), what=f"the job {key!r}"
        )
        assert job is not None
        return job

    def begin(self, job_id: str, *, total: int = 10, is_exact: bool = True) -> None:
        """Plan the whole job."""
        token = new_id("plan")
        job = jobs.begin_planning(self.db, job_id, token, timedelta(seconds=30))
        assert job is not None
        plan = job.plan.model_copy(update={"token": token, "exhausted": True, "chunks": 1})
        assert jobs.save_plan(self.db, job_id, plan, total=total, total_is_exact=is_exact)
        jobs.end_planning(self.db, job_id, token)

    def complete(self, job_id: str, n: int, statuses: Sequence[ItemStatus]) -> None:
        """Store the outcome of chunk `n`, whose items ended so."""
        job = jobs.get(self.db, job_id)
        items = [_item(n * len(statuses) + place, status) for place, status in enumerate(statuses)]
        counts = {status: statuses.count(status) for status in ItemStatus}
        outcome = Outcome(
            id=f"{job_id}:{job.epoch}:{n}",
            job_id=job_id,
            epoch=job.epoch,
            n=n,
            items=tuple(items),
            counts=counts,
            busy_seconds=1.5,
            worker="test",
            finished_at=now(),
            expires_at=now() + TTL,
        )
        assert outcomes.insert(self.db, outcome)
        jobs.add_progress(self.db, job_id, job.epoch, counts, 1.5, marks=job.marks_at(job.started_at or now()))

    def end(self, job_id: str, status: JobStatus, *, summary: Json | None = None) -> None:
        """Bring the job to its end."""
        job = jobs.get(self.db, job_id)
        assert jobs.begin_finalising(self.db, job_id, job.epoch)
        error = JobError(code="all_failed", message="No item is good.") if status is JobStatus.FAILED else None
        assert jobs.finish(
            self.db,
            job_id,
            job.epoch,
            status=status,
            progress=job.progress,
            summary=summary,
            error=error,
            expires_at=now() + TTL,
        )

    def ended(self, status: JobStatus, **request: Any) -> JobRecord:
        """Return a job that has run and ended so."""
        job = self.submit(**request)
        self.begin(job.id)
        self.end(job.id, status)
        return jobs.get(self.db, job.id)


def _item(index: int, status: ItemStatus) -> StoredItem:
    return StoredItem(
        index=index,
        item={"number": index},
        status=status,
        result={"number": index, "square": index**2} if status.is_good else None,
        error=StoredError(code="odd_number", message="It is odd.") if status is ItemStatus.FAILED else None,
    )


def problem_of(response: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """Return the problem document, having checked what every one must have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:backline:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["advice"]
    assert document["instance"]
    return document
