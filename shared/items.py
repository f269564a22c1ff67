"""What can become of one item of a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

MESSAGE_MAX = 1000


class ItemStatus(StrEnum):
    """How one item ended."""

    SUCCEEDED = "succeeded"  # worked on, and its result is merged
    CACHED = "cached"  # known already, under the same versions: nothing to do
    FAILED = "failed"  # its error says why
    CANCELLED = "cancelled"  # the job was cancelled before its turn

    @property
    def is_good(self) -> bool:
        """Whether the item's result stands."""
        return self in (ItemStatus.SUCCEEDED, ItemStatus.CACHED)


@dataclass(frozen=True, kw_only=True)
class ItemError:
    """Why an item failed."""

    code: str  # stable, for programs: not_found, corrupt, ...
    message: str  # one sentence, for people


@dataclass(frozen=True, kw_only=True)
class ItemOutcome:
    """What became of one item."""

    status: ItemStatus
    result: BaseModel | None = None  # the kind's Result, for a good status
    error: ItemError | None = None  # for FAILED


def succeeded(result: BaseModel, *, cached: bool = False) -> ItemOutcome:
    """Return the outcome of an item whose result stands."""
    return ItemOutcome(status=ItemStatus.CACHED if cached else ItemStatus.SUCCEEDED, result=result)


def failed(code: str, message: str) -> ItemOutcome:
    """Return the outcome of an item that could not be worked on; the message is made fit to be stored."""
    fit = message.encode("utf-8", "backslashreplace").decode()[:MESSAGE_MAX]
    return ItemOutcome(status=ItemStatus.FAILED, error=ItemError(code=code, message=fit))
