"""Following a job over server-sent events."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import events
from api.app import create_app
from shared.items import ItemStatus
from shared.keys import read_key_file
from shared.settings import Settings
from shared.store import jobs
from shared.store.job_record import JobStatus
from tests.api_server import Server, Worker, bearer
from tests.waiting import wait_until


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a stream; a comment has neither name nor data."""

    name: str | None
    id: str | None
    data: Any


def read_events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif fields.keys() & {"data", ""}:
            yield Event(name=fields.get("event"), id=fields.get("id"), data=json.loads(fields.get("data", "null")))
            fields = {}
        else:
            fields = {}


@contextmanager
def following(api: httpx.Client, job_id: str, last_event_id: str | None = None) -> Iterator[Iterator[Event]]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with api.stream("GET", f"/api/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield read_events(response.iter_lines())


def test_a_job_is_followed_to_its_end(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=2)
    with following(api, job.id) as stream:
        # The state at which the reader comes in is the first event
        first = next(stream)
        assert (first.name, first.id, first.data["status"]) == ("progress", "0.0", "queued")

        # Each change that is seen is another
        worker.begin(job.id, total=2)
        worker.complete(job.id, 0, [ItemStatus.SUCCEEDED, ItemStatus.SUCCEEDED])
        event = next(event for event in stream if event.data["progress"]["done"] == 2)
        assert (event.name, event.data["status"]) == ("progress", "running")
        assert "request" not in event.data

        # And the end is the last, after which the stream closes
        worker.end(job.id, JobStatus.SUCCEEDED, summary={"merged": 2, "good": 2})
        rest = list(stream)

    assert (rest[-1].name, rest[-1].data["status"]) == ("end", "succeeded")
    assert rest[-1].data["summary"] == {"merged": 2, "good": 2}
    assert [event.name for event in rest[:-1]] == ["progress"] * (len(rest) - 1)
    assert rest[-1].id == f"0.{jobs.get(worker.db, job.id).revision}"


def test_an_ended_job_is_one_event(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.PARTIAL)
    with following(api, job.id) as stream:
        assert [(event.name, event.data["status"]) for event in stream] == [("end", "partial")]


def test_a_reader_that_comes_back_does_not_see_the_same_state_again(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=2)
    with following(api, job.id) as stream:
        seen = next(stream)

    with following(api, job.id, last_event_id=seen.id) as stream:
        worker.begin(job.id)
        worker.end(job.id, JobStatus.SUCCEEDED)
        ids = [event.id for event in stream]

    assert seen.id not in ids
    assert len(ids) == len(set(ids))


def test_a_reader_that_comes_back_late_sees_what_it_has_missed(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=2)
    with following(api, job.id) as stream:
        seen = next(stream)
    worker.begin(job.id)

    with following(api, job.id, last_event_id=seen.id) as stream:
        event = next(stream)

    assert event.data["status"] == "running"


def test_a_reader_that_has_seen_the_end_is_told_to_stop(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.SUCCEEDED)
    with following(api, job.id) as stream:
        end = list(stream)[-1]

    response = api.get(f"/api/jobs/{job.id}/events", headers={"Last-Event-ID": end.id or ""})

    assert (response.status_code, response.content) == (204, b"")


def test_a_retried_job_is_followed_again(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.PARTIAL)
    with following(api, job.id) as stream:
        end = list(stream)[-1]
    api.post(f"/api/jobs/{job.id}/retry")

    with following(api, job.id, last_event_id=end.id) as stream:
        event = next(stream)

    assert (event.name, event.data["epoch"]) == ("progress", 1)
    assert (event.id or "").startswith("1.")


def test_a_quiet_stream_is_kept_alive(api: httpx.Client, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.1)
    job = worker.submit(items=2)
    with following(api, job.id) as stream:
        assert next(stream).name == "progress"
        comments = [next(stream), next(stream)]

    assert [comment.name for comment in comments] == [None, None]


def test_a_stream_ends_when_its_job_is_deleted(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=2)
    with following(api, job.id) as stream:
        next(stream)
        jobs.delete(worker.db, job.id)

        assert list(stream) == []


def test_a_reader_that_goes_away_leaves_nothing_behind(settings: Settings, worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    server = Server(create_app(settings.model_copy(update={"api_key_file": path})))
    server.start()
    try:
        watcher = server.app.state.services.watcher
        job = worker.submit(items=2)
        with httpx.Client(base_url=server.url, headers=bearer(read_key_file(path).text)) as client:
            with following(client, job.id) as stream:
                next(stream)
                wait_until(lambda: watcher.watched == 1)
            wait_until(lambda: watcher.watched == 0, seconds=5)
    finally:
        server.stop()


def test_a_look_that_fails_in_an_unexpected_way_is_logged_and_repeated(
    api: httpx.Client, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    job = worker.submit(items=2)
    with following(api, job.id) as stream, caplog.at_level(logging.ERROR, logger="api.watch"):
        next(stream)
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "find_revisions", fail)
            wait_until(lambda: caplog.records)
        worker.begin(job.id)

        assert next(stream).data["status"] == "running"


def test_many_readers_of_many_jobs_each_see_their_own(api: httpx.Client, worker: Worker) -> None:
    submitted = [worker.submit(items=1) for _ in range(4)]
    for job in submitted:
        worker.begin(job.id)
    with httpx.Client(base_url=api.base_url, headers=api.headers, timeout=20.0) as other:
        for job in submitted:
            with following(api, job.id) as one, following(other, job.id) as two:
                next(one)
                next(two)
                worker.end(job.id, JobStatus.SUCCEEDED)
                ends = [list(one)[-1], list(two)[-1]]
            assert [(end.name, end.data["id"]) for end in ends] == [("end", job.id)] * 2
