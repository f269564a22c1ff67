"""Where one command's jobs stand, taken together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from api.cli.client import Json
from api.cli.watching import is_final


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts of items over some jobs, and how fast they move."""

    status: str  # what the jobs are at, or how they ended
    total: int  # items known so far
    total_is_exact: bool
    succeeded: int
    cached: int
    failed: int
    cancelled: int
    items_per_second: float | None
    eta_seconds: float | None

    @property
    def done(self) -> int:
        """Items that were worked on or known already; not those that a cancel left alone."""
        return self.succeeded + self.cached + self.failed

    @property
    def good(self) -> int:
        """Items whose result stands."""
        return self.succeeded + self.cached

    @property
    def success_rate(self) -> float | None:
        """The good items' part of those that were tried, 0 to 1; None where none was tried."""
        tried = self.good + self.failed
        return self.good / tried if tried else None

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of items by outcome."""
        return {
            "total": self.total,
            "succeeded": self.succeeded,
            "cached": self.cached,
            "failed": self.failed,
            "cancelled": self.cancelled,
        }


def overview(jobs: Collection[Json]) -> Overview:
    """Add up the progress of some jobs."""
    progress = [job["progress"] for job in jobs]
    sums = {
        name: sum(one.get(name) or 0 for one in progress) for name in ("succeeded", "cached", "failed", "cancelled")
    }
    total = max(sum(one.get("total") or 0 for one in progress), sum(sums.values()))
    moving = [one for job, one in zip(jobs, progress, strict=True) if not is_final(job)]
    speed = sum(one.get("itemsPerSecond") or 0.0 for one in moving) or None
    etas = [one["etaSeconds"] for one in moving if one.get("etaSeconds") is not None]
    return Overview(
        status=_common_status(jobs),
        total=total,
        total_is_exact=all(one.get("totalIsExact", False) for one in progress),
        items_per_second=speed,
        eta_seconds=max(etas) if etas and len(etas) == len(moving) else None,
        **sums,
    )


def _common_status(jobs: Collection[Json]) -> str:
    """Return what the jobs are at; with different ends, the whole is partial."""
    statuses = {str(job["status"]) for job in jobs}
    if len(statuses) == 1:
        return statuses.pop()
    if all(is_final(job) for job in jobs):
        return "cancelled" if "cancelled" in statuses else "partial"
    live = {str(job["status"]) for job in jobs if not is_final(job)}
    return next(
        (status for status in ("running", "finalising", "waiting_input", "waiting_quota") if status in live), "queued"
    )
