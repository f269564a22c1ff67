"""How much an owner may have at a time, and in a day."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.clock import now
from shared.errors import QuotaExceeded, QuotaSpent
from shared.model import Db
from shared.settings import Settings
from shared.store import jobs, usage

RETRY_AFTER_SECONDS = 10  # jobs end all the time


def check_open_jobs(db: Db, owner: str, settings: Settings) -> int:
    """Return how many further jobs an owner may submit. Raises `QuotaExceeded` where it is none."""
    quota = settings.quota_open_jobs
    left = quota - jobs.count_open(db, owner, limit=quota)
    if left < 1:
        message = f"{owner} has {quota:,} jobs that have not ended, as many as one owner may have."
        raise QuotaExceeded(message, retry_after_seconds=RETRY_AFTER_SECONDS)
    return left


def check_items_of_day(db: Db, owner: str, settings: Settings) -> None:
    """Raise `QuotaSpent` where an owner's items of the day (UTC) are used up; it goes on at midnight."""
    quota = settings.quota_items_per_day
    if quota is None:
        return
    moment = now()
    if usage.items_of_day(db, owner, moment) >= quota:
        message = f"{owner} has used up the {quota:,} items of the day."
        raise QuotaSpent(message, resumes_at=_next_midnight(moment))


def note_items(db: Db, owner: str, count: int, settings: Settings) -> None:
    """Take items from an owner's budget of the day."""
    if settings.quota_items_per_day is not None and count > 0:
        usage.add_items(db, owner, now(), count)


def _next_midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
