"""When work that nobody may do now goes on: the chunk is put back with a time, and no worker waits."""

from __future__ import annotations

from datetime import timedelta

from shared.clock import now
from shared.errors import NotYet, QuotaSpent
from shared.settings import Settings
from workers.providers.errors import NotNow

LONG_SECONDS = 300.0
"""Who has to wait longer than this for one provider asks the others meanwhile, and its job shows that it waits."""
DAY_SECONDS = 86_400


def is_long(error: NotNow) -> bool:
    """Whether the others are asked meanwhile, and the job shows that it waits."""
    return error.is_quota or error.seconds > LONG_SECONDS


def is_worth_waiting(error: NotNow, settings: Settings) -> bool:
    """Whether the provider comes back in a time that jobs wait for."""
    return error.seconds <= settings.provider_wait_days * DAY_SECONDS


def parked(error: NotNow) -> NotYet:
    """Return what puts a chunk or a plan back until the provider may be asked again."""
    resumes_at = now() + timedelta(seconds=error.seconds)
    return (QuotaSpent if is_long(error) else NotYet)(error.message, resumes_at=resumes_at)
