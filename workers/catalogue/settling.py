"""Settling an import: what all entries of a release together mean for the documents that none of them is.

It works in small batches, each of which may be repeated; a crash anywhere leaves nothing that the next attempt does
not finish.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from shared.batches import in_batches
from shared.clock import now
from shared.errors import ItemFailed
from shared.items import ItemStatus
from shared.jobs.catalogue_import import Action, Item, Request
from shared.jobs.job import JobContext
from shared.store import catalogue, imports, outcomes
from shared.store.catalogue import CatalogueEntry, Change, Known, LastChange
from shared.store.imports import Counts, HandOver, ImportRecord
from shared.store.outcomes import StoredItem
from workers.catalogue.identity import rank
from workers.catalogue.spool import Spool
from workers.catalogue.storing import Batch

logger = logging.getLogger(__name__)

BATCH = 500
GOING_MAX = 0.5
"""A release in which more than this part of the living is missing is taken for a broken one."""

FAULTS = frozenset(
    (
        *("bad_json", "wrong_encoding", "too_large", "too_wide"),
        *("no_sources", "no_title", "wrong_type", "identity_conflict"),
    )
)
"""Failures that are the entry's own: it was read, and will never be good. All others may be good another time."""


@dataclass(kw_only=True)
class Tally:
    """What became of the entries, by their outcomes."""

    actions: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def unread(self) -> int:
        """How many entries are unknown to us."""
        return sum(count for code, count in self.failures.items() if code not in FAULTS)

    def add(self, item: StoredItem, *, is_latest: bool) -> None:
        """Count an item; one that failed was tried again where its epoch is not the latest."""
        if item.result is not None:
            self.actions[item.result["action"]] += 1
            self.warnings.update(item.result.get("warnings", ()))
        elif is_latest and item.error is not None:
            self.failures[item.error.code] += 1
        elif is_latest and item.status is ItemStatus.CANCELLED:
            self.failures["cancelled"] += 1


class Settling:
    """The end of one import."""

    def __init__(self, request: Request, record: ImportRecord, source: Spool, context: JobContext) -> None:
        """Settle in the library of this context."""
        self._request = request
        self._record = record
        self._source = source
        self._context = context
        self._library = context.library
        self._job_id = context.job_id

    def settle(self) -> None:
        """Mend duplicates, hand identities over, mark what is gone, and note what the import came to.

        A repeat changes nothing. Raises `ItemFailed` unless every entry was read.
        """
        self._make_hand_overs(self._record.hand_overs)  # a crash may have been in the middle of them
        tally = self._tally()
        if tally.unread:
            message = f"{tally.unread:,} entries could not be read, so nothing is marked as removed: retry the job."
            raise ItemFailed("not_whole", message)
        duplicates = tally.actions.total() - catalogue.count_seen(self._library, self._record.catalogue, self._job_id)
        if duplicates > 0:
            self._store_first_of_duplicates()
        if tally.actions[Action.NEW]:
            self._hand_over()
        carried_over = self._carried_over()
        removed, kept_back = self._remove_missing(tally, carried_over)
        counts = Counts(
            new=max(tally.actions[Action.NEW] - carried_over, 0),
            changed=tally.actions[Action.CHANGED] + carried_over,
            unchanged=tally.actions[Action.UNCHANGED],
            revived=tally.actions[Action.REVIVED],
            duplicates=max(duplicates, 0),
            carried_over=carried_over,
            removed=removed,
            kept_back=kept_back,
            failed=tally.failures.total(),
            warnings=dict(sorted(tally.warnings.items())),
            failures=dict(sorted(tally.failures.items())),
        )
        imports.finish(self._library, self._job_id, counts)

    # What there was

    def _items(self) -> Iterator[tuple[StoredItem, bool]]:
        """Yield the entries' outcomes, and whether they are of the latest epoch."""
        for epoch in range(self._context.epoch + 1):
            for outcome in outcomes.iterate(self._context.db, self._job_id, epoch):
                for item in outcome.items:
                    if item.item.get("step") is None:
                        yield item, epoch == self._context.epoch

    def _tally(self) -> Tally:
        tally = Tally()
        for item, is_latest in self._items():
            tally.add(item, is_latest=is_latest)
        return tally

    # Duplicates

    def _store_first_of_duplicates(self) -> None:
        """Of several entries that are one document, store the one that comes first in the release, whoever wrote last.

        Only here are all ids of a release in memory, since only a faulty one has duplicates.
        """
        first: dict[str, tuple[int, int]] = {}
        several: set[str] = set()
        for item, _ in self._items():
            if item.result is None:
                continue
            item_id, place = item.result["itemId"], (item.item["number"], item.item["offset"])
            if item_id in first:
                several.add(item_id)
            first[item_id] = min(place, first.get(item_id, place))
        items = [Item(number=first[one][0], offset=first[one][1]) for one in sorted(several)]
        for some in in_batches(items, BATCH):
            Batch(self._record, self._source, self._context).store(some)

    # Identities that lost their source

    def _hand_over(self) -> None:
        """Let documents whose primary source is gone go on with the new ones that share another source with them."""
        unseen = catalogue.iterate_unseen(self._library, self._record.catalogue, self._job_id)
        for some in in_batches(unseen, BATCH):
            pairs = self._pairs(some)
            if pairs:
                imports.begin_hand_overs(self._library, self._job_id, pairs)
                self._make_hand_overs(pairs)

    def _pairs(self, olds: Sequence[Known]) -> list[HandOver]:
        """Return which new documents some old ones, in the order of their ids, go on with."""
        by_source = self._seen_by_source({source for old in olds for source in old.sources})
        taken: set[str] = set()
        pairs = []
        for old in olds:
            new = None if old.spared_in == self._job_id else self._successor(old, by_source, taken)
            if new is not None:
                taken.add(new)
                pairs.append(HandOver(old=old.id, new=new))
        return pairs

    def _seen_by_source(self, sources: Iterable[str]) -> dict[str, list[Known]]:
        by_source: dict[str, list[Known]] = defaultdict(list)
        for known in catalogue.find_sharing(self._library, self._record.catalogue, sources):
            if known.seen_in == self._job_id:
                for source in known.sources:
                    by_source[source].append(known)
        return by_source

    def _successor(self, old: Known, by_source: dict[str, list[Known]], taken: set[str]) -> str | None:
        """Return the new document that shares the best source with an old one whose own is gone, or None."""
        if old.primary_source in by_source:
            return None
        shared = [
            (rank(source), known.id)
            for source in old.sources
            for known in by_source.get(source, ())
            if known.was(Change.NEW, self._job_id) and known.id not in taken
        ]
        return min(shared)[1] if shared else None

    def _make_hand_overs(self, pairs: Sequence[HandOver]) -> None:
        """Write what new documents hold into the old ones, and then delete the new ones: those that are still there."""
        if not pairs:
            return
        news = catalogue.find_many(self._library, [pair.new for pair in pairs])
        olds = catalogue.find_known(self._library, [pair.old for pair in pairs])
        documents = [self._carried(news[pair.new], olds[pair.old]) for pair in pairs if pair.new in news]
        catalogue.write(self._library, documents)
        catalogue.delete(self._library, list(news))
        imports.end_hand_overs(self._library, self._job_id, len(pairs))

    def _carried(self, new: CatalogueEntry, old: Known) -> CatalogueEntry:
        revives = old.removed_at is not None or old.was(Change.REVIVED, self._job_id)
        change = Change.REVIVED if revives else Change.CHANGED
        changes = {
            "id": old.id,
            "created_at": old.created_at,
            "updated_at": now(),
            "last_change": LastChange(job_id=self._job_id, what=change),
        }
        return new.model_copy(update=changes)

    def _carried_over(self) -> int:
        record = imports.find(self._library, self._job_id)
        return record.carried_over if record is not None else 0

    # What is gone

    def _remove_missing(self, tally: Tally, carried_over: int) -> tuple[int, int]:
        """Mark the documents that the release has nothing for. Return how many, and how many were too many to mark."""
        going = staying = 0
        for known in self._living_unseen():
            if known.spared_in == self._job_id:
                staying += 1
            else:
                going += 1
        came = tally.actions[Action.NEW] - carried_over + tally.actions[Action.REVIVED]
        staying += catalogue.count_seen(self._library, self._record.catalogue, self._job_id) - came
        if going > GOING_MAX * (going + staying) and not self._request.force:
            logger.warning("%s: %d of %d would go, so none does", self._job_id, going, going + staying)
            return 0, going
        gone = (known.id for known in self._living_unseen() if known.spared_in != self._job_id)
        for ids in in_batches(gone, BATCH):
            catalogue.remove(self._library, ids, self._job_id)
        return going, 0

    def _living_unseen(self) -> Iterator[Known]:
        """Yield what the release has nothing for, and was there before."""
        for known in catalogue.iterate_unseen(self._library, self._record.catalogue, self._job_id):
            if known.removed_at is None or known.was(Change.REMOVED, self._job_id):
                yield known
