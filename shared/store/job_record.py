"""One job as it is stored: where it stands, how far it is laid out, what it has got done."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from shared.model import Cursor, Json, Record


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # stored; nobody has looked at it yet
    RUNNING = "running"  # its chunks are laid out and worked on
    WAITING_QUOTA = "waiting_quota"  # an outside budget is spent; resumes by itself at `resumesAt`
    WAITING_INPUT = "waiting_input"  # somebody has to answer a question; it goes on then
    FINALISING = "finalising"  # every item has its outcome; totals are being drawn up
    SUCCEEDED = "succeeded"  # every item is good
    PARTIAL = "partial"  # some items failed, or were not reached; the others stand
    FAILED = "failed"  # no item is good
    CANCELLED = "cancelled"  # stopped on request; what was done before stands

    @property
    def is_final(self) -> bool:
        """Whether the job has ended (a retry may open it again)."""
        return self in FINAL


WAITING = (JobStatus.WAITING_QUOTA, JobStatus.WAITING_INPUT)
ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING, *WAITING, JobStatus.FINALISING)
FINAL = (JobStatus.SUCCEEDED, JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.CANCELLED)
PLANNABLE = (JobStatus.QUEUED, JobStatus.RUNNING, *WAITING)


class RetrySource(Record):
    """An earlier epoch whose failed items the present plan takes up again, from behind (`n`, `place`) on."""

    epoch: int
    chunks: int  # how many chunks that epoch had
    n: int = -1  # the chunk of the last item that was taken up
    place: int = -1  # that item's place in the chunk

    def is_ahead_of(self, n: int, place: int) -> bool:
        """Whether the item at `place` of chunk `n` has been taken up already."""
        return (n, place) <= (self.n, self.place)


class PlanState(Record):
    """How far the work is laid out. Only the holder of `token` may move it."""

    token: str | None = None
    until: datetime | None = None  # when the holder's lease ends
    chunks: int = 0  # chunks of this epoch that are laid out: their numbers are 0 .. chunks-1
    items: int = 0  # items that the kind's plan has yielded, over all epochs
    cursor: Cursor | None = None  # where the kind's plan goes on
    exhausted: bool = False  # the kind's plan has nothing more
    sources: tuple[RetrySource, ...] = ()  # what a retry takes up before the plan goes on, newest epoch first
    turn: float = 0.0  # the fair-queueing turn of the last chunk laid out
    in_step: bool = False  # that chunk is a step, behind which nothing begins before it has ended
    counted: int = 0  # items found by counting ahead of the plan
    count_cursor: Cursor | None = None
    counted_all: bool = False  # `counted` is the whole job

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to lay out in this epoch."""
        return self.exhausted and not self.sources

    @property
    def total(self) -> int:
        """How many items the job has, as far as is known."""
        return self.items if self.exhausted else max(self.items, self.counted)

    def is_taken_up(self, epoch: int, n: int, place: int) -> bool:
        """Whether a later epoch has taken up an item that did not succeed in this earlier one."""
        source = next((source for source in self.sources if source.epoch == epoch), None)
        return source is None or source.is_ahead_of(n, place)


class Progress(Record):
    """Counts for display while the job runs; exact once it has ended."""

    total: int = 0  # items known so far
    total_is_exact: bool = False
    succeeded: int = 0
    cached: int = 0
    failed: int = 0
    cancelled: int = 0
    busy_seconds: float = 0.0  # summed over the workers

    @property
    def done(self) -> int:
        """Items that somebody has worked on, or that were known; not those that a cancel left alone."""
        return self.succeeded + self.cached + self.failed


MARK_INTERVAL = timedelta(seconds=15)


class PaceMark(Record):
    """How far a running job was at a moment, to tell its present pace from that of its whole life."""

    at: datetime
    done: int


class JobError(Record):
    """Why a job could not do its work, or all of it."""

    code: str
    message: str


class JobEnd(Record):
    """How an epoch of a job ended."""

    status: JobStatus
    error: JobError | None = None


class JobRecord(Record):
    """One job as it is stored."""

    id: str = Field(alias="_id")
    kind: str
    owner: str  # the tenant that submitted it; nobody else sees it
    user_id: str  # the user of theirs that it is for
    request: Json
    status: JobStatus = JobStatus.QUEUED
    epoch: int = 0
    revision: int = 0  # grows with every change that a watcher should see
    progress: Progress = Progress()
    plan: PlanState = PlanState()
    plan_error: JobError | None = None  # why nothing more can be laid out
    work_error: JobError | None = None  # why a chunk was given up
    marks: tuple[PaceMark, ...] = ()  # the last two
    finishes: int = 0  # how often somebody began to draw up the totals of this epoch
    summary: Json | None = None
    error: JobError | None = None
    cancel_requested_at: datetime | None = None
    resumes_at: datetime | None = None
    request_id: str | None = None  # of the HTTP request that submitted it, for the log
    traceparent: str | None = None  # the span that it was submitted in, in W3C's form: its work belongs to that trace
    schedule: str | None = None  # the schedule that submitted it
    idempotency_key: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    first_end: JobEnd | None = None  # of the first epoch, once there is a second
    followed_by: str | None = None  # the job that was submitted when this one ended
    expires_at: datetime | None = None

    def marks_at(self, moment: datetime) -> tuple[PaceMark, ...]:
        """Return the marks to keep, this record having been read at `moment`: the same ones while the last is fresh."""
        if self.marks and moment - self.marks[-1].at < MARK_INTERVAL:
            return self.marks
        return (*self.marks[-1:], PaceMark(at=moment, done=self.progress.done))

    @property
    def is_cut_short(self) -> bool:
        """Whether items that nobody works on yet should never be begun."""
        return self.cancel_requested_at is not None or self.plan_error is not None

    @property
    def is_laid_out(self) -> bool:
        """Whether no further chunk will come: the job ends with those that are live."""
        return self.plan.is_complete or self.is_cut_short
