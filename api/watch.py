"""Tells waiting requests that a job has changed: one look at MongoDB for all of them, a few times a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from anyio import to_thread

from api.connection import Connection
from shared.errors import JobNotFound, ServiceUnavailable
from shared.model import Db
from shared.store import jobs
from shared.store.database import StoreError
from shared.store.job_record import JobRecord

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.4
GATHER_SECONDS = 0.02
"""A newcomer causes a look at once; those who come this close together share it."""


class Watch:
    """One reader's view of a job."""

    def __init__(self, job_id: str, seen: int) -> None:
        self.job_id = job_id
        self.seen = seen  # the revision that the reader has, or is about to get
        self._latest: JobRecord | None = None
        self._changed = asyncio.Event()

    def deliver(self, job: JobRecord | None) -> None:
        """Hand over the job as it is now, None when it was deleted."""
        self._latest = job
        if job is not None:
            self.seen = job.revision
        self._changed.set()

    async def change(self) -> JobRecord:
        """Wait until the job differs from what was seen, and return it without its request.

        What changed in the meantime is skipped: the reader gets the latest. Raises `JobNotFound`.
        """
        await self._changed.wait()
        self._changed.clear()
        if self._latest is None:
            raise JobNotFound(f"Job {self.job_id} was deleted.")
        return self._latest


class Watcher:
    """Looks after every watched job of this process with one query, however many readers there are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watches: dict[str, set[Watch]] = {}
        self._joined = asyncio.Event()

    @property
    def watched(self) -> int:
        """How many jobs have a reader."""
        return len(self._watches)

    @contextmanager
    def watch(self, job: JobRecord) -> Iterator[Watch]:
        """Give a view of what `job` becomes after the revision that it has here."""
        watch = Watch(job.id, job.revision)
        self._watches.setdefault(job.id, set()).add(watch)
        self._joined.set()
        try:
            yield watch
        finally:
            self._watches[job.id].remove(watch)
            if not self._watches[job.id]:
                del self._watches[job.id]

    async def wait_for_end(self, job: JobRecord, seconds: float) -> JobRecord:
        """Return the job once it has ended, or as it is after `seconds`. Raises `JobNotFound`."""
        with self.watch(job) as watch, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not job.status.is_final:
                    job = await watch.change()
        return job

    async def run(self) -> None:
        """Look at the watched jobs until cancelled."""
        while True:
            if not self._watches:
                await self._joined.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._joined.clear()
            try:
                await self._look()
            except Exception:
                logger.exception("the watched jobs can't be read")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._joined.wait()

    async def _look(self) -> None:
        seen = {job_id: {watch.seen for watch in watches} for job_id, watches in self._watches.items()}
        try:
            found = await to_thread.run_sync(_find_changed, self._connection.db, seen, abandon_on_cancel=True)
        except ServiceUnavailable:
            return
        except StoreError as error:
            self._connection.note(error)
            return
        for job_id, job in found.items():
            for watch in self._watches.get(job_id, ()):
                if job is None or watch.seen != job.revision:
                    watch.deliver(job)


def _find_changed(db: Db, seen: Mapping[str, Collection[int]]) -> dict[str, JobRecord | None]:
    """Return the jobs whose revision some reader has not seen; None stands for a job that is gone."""
    revisions = jobs.find_revisions(db, list(seen))
    changed: dict[str, JobRecord | None] = {job_id: None for job_id in seen if job_id not in revisions}
    stale = [job_id for job_id, revision in revisions.items() if seen[job_id] != {revision}]
    if stale:
        changed.update({job.id: job for job in jobs.find_without_requests(db, stale)})
    return changed
