"""What a later version has written and this one can't read: it is left to the workers of that version, for a while.

While two versions run side by side, either's workers take what comes. A job of a kind that is not known here, or whose
request or items have fields or choices that are not, must not fail for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from pydantic import ValidationError

from shared.clock import now
from shared.errors import UnknownJobKind
from shared.jobs import get_kind
from shared.store.job_record import JobRecord

PATIENCE = timedelta(hours=1)
"""For so long from its submission a job is left to others; then it fails, as one whose kind is gone for good."""

PAUSE = timedelta(seconds=2)
"""For so long a chunk that can't be read is put aside, so that whoever can read it comes to it."""

SIGNS = frozenset(("extra_forbidden", "enum", "literal_error"))
"""What validation finds in that which a later version has written."""


class Unreadable(Exception):
    """A later version has written it."""


@contextmanager
def reading(job: JobRecord) -> Iterator[None]:
    """Turn what keeps this version from reading a job's request or items into `Unreadable`, while the job is young."""
    try:
        yield
    except UnknownJobKind as error:
        if not _is_young(job):
            raise
        raise Unreadable(error.message) from None
    except ValidationError as error:
        if not _is_young(job) or {one["type"] for one in error.errors()} - SIGNS:
            raise
        raise Unreadable(f"{job.kind} with {error.error_count()} fields of a later version") from None


def check(job: JobRecord) -> None:
    """Raise `Unreadable` for a job, with its request, that a later version has submitted and nobody has cancelled.

    What else is wrong with it, whoever works on it finds out.
    """
    if job.cancel_requested_at is not None:
        return
    with suppress(UnknownJobKind, ValidationError), reading(job):
        get_kind(job.kind).request.model_validate(job.request)


def _is_young(job: JobRecord) -> bool:
    return now() - job.created_at < PATIENCE
