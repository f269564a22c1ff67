"""The bodies of the answers about health and load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import ConfigDict, Field

from shared.broker import Queue
from shared.diagnosis import Finding, Verdict, worst
from shared.model import Body, Json
from shared.store.job_record import JobStatus
from shared.store.slots import Slot


class ServerPart(Body):
    """A server that Backline stands on."""

    ok: bool
    milliseconds: float | None = Field(description="How long its answer took")
    detail: str | None = Field(description="What is wrong with it")


class QueuePart(Body):
    """A queue is served while a worker process takes work from it."""

    ok: bool
    slots: int | None = Field(description="Live worker processes; null when that can't be known")


class Parts(Body):
    """Everything that must work for jobs to get done."""

    mongodb: ServerPart
    redis: ServerPart
    queues: dict[Queue, QueuePart]
    search: ServerPart | None = Field(default=None, description="The search server; null where none is configured")

    def down(self) -> list[str]:
        """Return the names of the parts that are down."""
        named = {"mongodb": self.mongodb, "redis": self.redis, "search": self.search}
        servers = [name for name, part in named.items() if part is not None and not part.ok]
        return servers + [f"queues.{queue.value}" for queue, part in self.queues.items() if not part.ok]


_PARTS_EXAMPLE: Json = {
    "mongodb": {"ok": True, "milliseconds": 0.9, "detail": None},
    "redis": {"ok": True, "milliseconds": 0.4, "detail": None},
    "queues": {queue.value: {"ok": True, "slots": 2} for queue in Queue},
    "search": {"ok": True, "milliseconds": 1.2, "detail": None},
}


class Readiness(Body):
    """Whether everything works."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready", "down": [], "parts": _PARTS_EXAMPLE}]}
    )

    status: str = Field(description="`ready` or `unavailable`")
    down: tuple[str, ...] = Field(description="The parts that are down")
    parts: Parts


class DetailedPart(Body):
    """How one part is, and what to do where it is not well."""

    name: str
    status: Verdict
    milliseconds: float | None = Field(description="How long its answer took")
    version: str | None
    detail: str
    advice: str = Field(description="What to do; empty where all is well")


class DetailedHealth(Body):
    """Every part, the worst status first of all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "parts": [
                        {
                            "name": "mongodb",
                            "status": "ok",
                            "milliseconds": 0.9,
                            "version": "8.2.1",
                            "detail": "replica set rs0",
                            "advice": "",
                        }
                    ],
                }
            ]
        }
    )

    status: Verdict = Field(description="The worst status of any part")
    parts: tuple[DetailedPart, ...]


def detailed(findings: Sequence[Finding]) -> DetailedHealth:
    """Return findings as clients see them."""
    parts = tuple(
        DetailedPart(
            name=finding.name,
            status=finding.verdict,
            milliseconds=finding.milliseconds,
            version=finding.version,
            detail=finding.detail,
            advice=finding.advice,
        )
        for finding in findings
    )
    return DetailedHealth(status=worst(findings), parts=parts)


class Liveness(Body):
    """The process answers."""

    status: str = "live"


class Worker(Body):
    """A live worker process and what it is doing."""

    id: str
    worker: str = Field(description="The Celery node that it belongs to")
    queues: tuple[Queue, ...]
    job_id: str | None = Field(description="The job of yours that it works on")
    chunk: int | None
    rss_mb: float
    started_at: datetime
    seen_at: datetime


class QueueStatus(Body):
    """What waits in a queue; null where that can't be known."""

    slots: int | None
    waiting_chunks: int | None
    waiting_rings: int | None


class Status(Body):
    """The whole of Backline at a glance."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "parts": _PARTS_EXAMPLE,
                    "queues": {queue.value: {"slots": 2, "waitingChunks": 0, "waitingRings": 0} for queue in Queue},
                    "workers": [
                        {
                            "id": "studio.f0000001:4711:98765",
                            "worker": "heavy-8765@studio",
                            "queues": ["cpu", "index", "io", "bulk"],
                            "jobId": "job_019a",
                            "chunk": 7,
                            "rssMb": 143.2,
                            "startedAt": "2026-11-21T12:00:00Z",
                            "seenAt": "2026-11-21T12:01:38Z",
                        }
                    ],
                    "jobs": {"running": 1, "succeeded": 12},
                }
            ]
        }
    )

    parts: Parts
    queues: dict[Queue, QueueStatus]
    workers: tuple[Worker, ...]
    jobs: dict[JobStatus, int] | None


def worker_document(slot: Slot, *, shows_job: bool) -> Worker:
    """Return a worker process as clients see it, with what it works on only if that is theirs."""
    hidden = {} if shows_job else {"job_id": None, "chunk": None}
    return Worker(**{**slot.model_dump(), **hidden})


def queue_parts(slots: Mapping[Queue, int] | None) -> dict[Queue, QueuePart]:
    """Return which queues are served, given the live processes on each, or None where that can't be known."""
    if slots is None:
        return {queue: QueuePart(ok=False, slots=None) for queue in Queue}
    return {queue: QueuePart(ok=slots.get(queue, 0) > 0, slots=slots.get(queue, 0)) for queue in Queue}
