"""Following jobs to their end, across lost connections and restarts of the API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from api.cli.client import Client, Json
from api.cli.errors import NotReachable, Refused


class JobStatus(StrEnum):
    """Where a job may stand; spelt out, for the service's own list would bring its database along."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING_QUOTA = "waiting_quota"
    WAITING_INPUT = "waiting_input"
    FINALISING = "finalising"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset((JobStatus.SUCCEEDED, JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.CANCELLED))
SILENCE_SECONDS = 20.0  # a stream that says nothing for so long is asked about, and opened anew
POLL_SECONDS = 0.5
POLL_SECONDS_PER_JOB = 0.02  # many jobs are asked about in turn, without flooding the API


def is_final(job: Json) -> bool:
    """Whether a job has ended."""
    return job["status"] in FINAL


def watch(client: Client, job_ids: Sequence[str]) -> Iterator[dict[str, Json]]:
    """Yield the jobs by id, each time something has changed, until all have ended.

    Raises `NotReachable` when the API stays away, `Refused` when a job does not exist.
    """
    if len(job_ids) == 1:
        for job in _watch_one(client, job_ids[0]):
            yield {job_ids[0]: job}
        return
    jobs: dict[str, Json] = {}
    while True:
        for job_id in job_ids:
            if job_id not in jobs or not is_final(jobs[job_id]):
                jobs[job_id] = client.job(job_id)
        yield jobs
        if all(is_final(job) for job in jobs.values()):
            return
        time.sleep(POLL_SECONDS + POLL_SECONDS_PER_JOB * len(job_ids))


def _watch_one(client: Client, job_id: str) -> Iterator[Json]:
    """Follow the stream of events; between two streams, and where there is none, ask."""
    last_id: str | None = None
    streams = True
    while True:
        job = client.job(job_id)  # waits for an API that restarts
        yield job
        if is_final(job):
            return
        if not streams:
            time.sleep(POLL_SECONDS)
            continue
        opened = time.monotonic()
        try:
            with client.events(job_id, last_id=last_id, silence_seconds=SILENCE_SECONDS) as lines:
                for event in read_events(lines):
                    last_id = event.id or last_id
                    job = json.loads(event.data)
                    yield job
                    if is_final(job):
                        return
        except (NotReachable, ValueError):
            pass  # the next question finds out whether it is back
        except Refused as refused:
            streams = refused.status >= 500
        if time.monotonic() - opened < POLL_SECONDS:
            time.sleep(POLL_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One server-sent event."""

    name: str
    data: str
    id: str | None = None  # where a stream that is opened anew goes on


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events in the lines of a stream, as the WHATWG's HTML standard reads them; comments are skipped."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                last = {name: values[-1] for name, values in fields.items()}
                yield Event(name=last.get("event", "message"), data="\n".join(fields["data"]), id=last.get("id"))
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
