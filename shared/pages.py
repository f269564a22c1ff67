"""Reading the items of a job, page by page, also while it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from shared.errors import InvalidCursor
from shared.items import ItemStatus
from shared.jobs import known_kinds
from shared.jobs.job import JobContext, Present, present_as_stored
from shared.model import Db
from shared.settings import Settings
from shared.store import outcomes
from shared.store.job_record import JobRecord
from shared.store.outcomes import RANGE, Outcome, StoredItem

RANGES_PER_PAGE = 40  # bounds the work of one page when a filter lets little through
LARGEST = 2**31 - 1  # no number in a cursor is larger; MongoDB refuses those above 64 bits


@dataclass(frozen=True, kw_only=True, order=True)
class Position:
    """A place among the items of a job: the item at `place` in chunk `n` of `epoch` comes next."""

    epoch: int = 0
    n: int = 0
    place: int = 0

    @classmethod
    def parse(cls, cursor: str | None) -> Position:
        """Read a cursor. Raises `InvalidCursor`."""
        if cursor is None:
            return cls()
        try:
            epoch, n, place = (int(part) for part in cursor.split("."))
        except ValueError:
            raise InvalidCursor(f"{cursor!r} is no cursor of a list of items.") from None
        if min(epoch, n, place) < 0 or max(epoch, n, place) > LARGEST:
            raise InvalidCursor(f"{cursor!r} is no cursor of a list of items.")
        return cls(epoch=epoch, n=n, place=place)

    def __str__(self) -> str:
        """Return the cursor that stands for this place."""
        return f"{self.epoch}.{self.n}.{self.place}"


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """Some items, and where to go on; `cursor` is None once the job has ended and all was read."""

    items: Sequence[StoredItem]
    cursor: str | None


def items_page(
    db: Db,
    job: JobRecord,
    *,
    after: str | None,
    limit: int,
    status: Collection[ItemStatus] = (),
    settings: Settings,
) -> ItemPage:
    """Return up to `limit` items with an outcome, in the order of the plan, behind the cursor `after`.

    While the job runs, a page ends before the first chunk that has no outcome yet, so a reader that follows the
    cursor misses nothing; an empty page with a cursor means: ask again later. Raises `InvalidCursor`.
    """
    position = Position.parse(after)
    found: list[StoredItem] = []
    for _ in range(RANGES_PER_PAGE):
        batch = _next_batch(db, job, position)
        for outcome in batch:
            for place, item in enumerate(outcome.items):
                if (outcome.n == position.n and place < position.place) or not _is_wanted(job, outcome, place, status):
                    continue
                if len(found) == limit:
                    here = Position(epoch=outcome.epoch, n=outcome.n, place=place)
                    return _page(db, job, found, str(here), settings)
                found.append(item)
        following = _behind(job, position, batch)
        if following is None:
            return _page(db, job, found, None, settings)
        if following == position:
            break
        position = following
    return _page(db, job, found, str(position), settings)


def _next_batch(db: Db, job: JobRecord, position: Position) -> list[Outcome]:
    """Return the outcomes from `position` on, up to the first that is missing."""
    batch = outcomes.find_range(db, job.id, position.epoch, start=position.n, stop=position.n + RANGE)
    return [outcome for n, outcome in enumerate(batch, start=position.n) if outcome.n == n]


def _behind(job: JobRecord, position: Position, batch: Sequence[Outcome]) -> Position | None:
    """Return where reading goes on behind `batch`; None at the end of a finished job."""
    if len(batch) == RANGE:
        return Position(epoch=position.epoch, n=position.n + RANGE)
    if position.epoch < job.epoch:
        return Position(epoch=position.epoch + 1)
    if job.status.is_final:
        return None
    return Position(epoch=position.epoch, n=position.n + len(batch)) if batch else position


def _is_wanted(job: JobRecord, outcome: Outcome, place: int, status: Collection[ItemStatus]) -> bool:
    item = outcome.items[place]
    if status and item.status not in status:
        return False
    is_past = outcome.epoch < job.epoch and not item.status.is_good
    return not (is_past and job.plan.is_taken_up(outcome.epoch, outcome.n, place))


def _page(db: Db, job: JobRecord, found: Sequence[StoredItem], cursor: str | None, settings: Settings) -> ItemPage:
    return ItemPage(items=list(_presented(db, job, found, settings)), cursor=cursor)


def _presented(db: Db, job: JobRecord, found: Sequence[StoredItem], settings: Settings) -> Iterator[StoredItem]:
    """Yield the items with their results as the kind shows them."""
    context = JobContext.of(job, db, settings)
    results = [item.result for item in found if item.result is not None]
    shown = iter(_present_of(job)(results, context))
    for item in found:
        yield item if item.result is None else item.model_copy(update={"result": next(shown)})


def _present_of(job: JobRecord) -> Present:
    kind = known_kinds().get(job.kind)  # a later version's jobs are shown as they are stored
    return present_as_stored if kind is None else kind.present
