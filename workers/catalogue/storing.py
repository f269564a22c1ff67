"""Storing the entries of one chunk: who each of them is, whether it says anything new, and what is written of it.

Who an entry is depends on the entry and on what the library held before the job alone, so that chunks may be stored
in any order, side by side, and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from shared.clock import now
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.catalogue_import import Action, Item, Result
from shared.jobs.job import JobContext
from shared.store import catalogue
from shared.store.catalogue import CatalogueEntry, Change, Known, LastChange
from shared.store.imports import ImportRecord
from workers.catalogue.entry import Entry
from workers.catalogue.errors import EntryFault
from workers.catalogue.formats import Form
from workers.catalogue.identity import best_first, candidates, canonical, rank
from workers.catalogue.normalise import Read, read
from workers.catalogue.quality import quality
from workers.catalogue.spool import Spool, read_at

FORMS = {Form.ANIME: "anime", Form.TRACKS: "track"}
CONTENT = tuple(one.name for one in fields(Entry) if one.name != "form")
RAW_SOURCES = re.compile(rb'"sources"\s*:\s*\[([^\]]*)\]')
RAW_TEXT = re.compile(rb'"([^"\\\s]+)"')
ACTIONS = {Change.NEW: Action.NEW, Change.CHANGED: Action.CHANGED, Change.REVIVED: Action.REVIVED}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Which document an entry is, and what is known of it."""

    id: str
    known: Known | None  # None where there is none yet


class Batch:
    """The entries of one chunk."""

    def __init__(self, record: ImportRecord, source: Spool, context: JobContext) -> None:
        """Store into the library of this context."""
        self._record = record
        self._source = source
        self._library = context.library
        self._job_id = context.job_id
        self._by_primary: Mapping[str, Known] = {}
        self._by_id: Mapping[str, Known] = {}

    def store(self, items: Sequence[Item]) -> list[ItemOutcome]:
        """Store the entries at these places, and return each one's outcome."""
        found = self._read(items)
        self._look_up([one.entry for one in found.values() if isinstance(one, Read)])
        self._spare([one for one in found.values() if isinstance(one, EntryFault)])
        outcomes: list[ItemOutcome] = []
        documents: dict[str, CatalogueEntry] = {}
        seen: set[str] = set()
        for one in found.values():
            if isinstance(one, EntryFault):
                outcomes.append(failed(one.code, one.message))
            else:
                outcomes.append(self._stored(one, documents, seen))
        catalogue.write(self._library, list(documents.values()))
        catalogue.mark_seen(self._library, sorted(seen - documents.keys()), self._job_id)
        return outcomes

    def _read(self, items: Sequence[Item]) -> dict[int, Read | EntryFault]:
        """Return what is at each place, in their order."""
        offsets = [item.offset or 0 for item in items]
        found: dict[int, Read | EntryFault] = {}
        for offset, payload in zip(offsets, read_at(self._source.path, iter(offsets)), strict=True):
            try:
                found[offset] = read(payload, self._source.form)
            except EntryFault as fault:
                fault.sources = fault.sources or sources_in(payload)
                found[offset] = fault
        return found

    def _look_up(self, entries: Sequence[Entry]) -> None:
        """Ask once for all documents that these entries may be."""
        sources = {source for entry in entries for source in entry.sources}
        by_primary = catalogue.find_by_primary(self._library, self._record.catalogue, sources) if sources else []
        self._by_primary = {
            str(known.primary_source): known
            for known in sorted(by_primary, key=lambda known: known.id, reverse=True)
            if not known.was(Change.NEW, self._job_id)
        }
        ids = {one for entry in entries for one in candidates(entry.sources, self._record.catalogue)}
        self._by_id = catalogue.find_known(self._library, ids) if ids else {}

    def _spare(self, faults: Sequence[EntryFault]) -> None:
        sources = [source for fault in faults for source in fault.sources]
        if sources:
            catalogue.spare(self._library, self._record.catalogue, sources, self._job_id)

    def target_of(self, entry: Entry) -> Target | None:
        """Return the document that an entry is: one that has its id from one of the sources, or a new one.

        None where every id that it could have is somebody else's.
        """
        mine = [self._by_primary[source] for source in entry.sources if source in self._by_primary]
        if mine:
            best = min(mine, key=lambda known: (rank(str(known.primary_source)), known.id))
            return Target(id=best.id, known=best)
        for item_id in candidates(entry.sources, self._record.catalogue):
            known = self._by_id.get(item_id)
            if known is None or known.was(Change.NEW, self._job_id):
                return Target(id=item_id, known=known)
        return None

    def _stored(self, one: Read, documents: dict[str, CatalogueEntry], seen: set[str]) -> ItemOutcome:
        """Add what is to be written of an entry, and return its outcome."""
        target = self.target_of(one.entry)
        if target is None:
            return failed("identity_conflict", "Every id that its sources could give it belongs to another entry.")
        content = one.entry.content_hash
        if target.id in seen:
            return self._outcome(target, Action.DUPLICATE, one)
        seen.add(target.id)
        action = self._action(target.known, content)
        if action in (Action.NEW, Action.CHANGED, Action.REVIVED) and not self._is_written(target.known, content):
            documents[target.id] = self.document(one.entry, target, action)
        return self._outcome(target, action, one)

    def _outcome(self, target: Target, action: Action, one: Read) -> ItemOutcome:
        result = Result(item_id=target.id, action=action, warnings=tuple(one.warnings))
        return succeeded(result, cached=action is Action.UNCHANGED)

    def _is_written(self, known: Known | None, content: str) -> bool:
        return known is not None and known.content_hash == content and self._change_of(known) is not None

    def _change_of(self, known: Known) -> Change | None:
        """Return what this job did to a document before, in an attempt that broke off."""
        last = known.last_change
        return last.what if last is not None and last.job_id == self._job_id else None

    def _action(self, known: Known | None, content: str) -> Action:
        if known is None:
            return Action.NEW
        done = self._change_of(known)
        if done is not None:
            return ACTIONS.get(done, Action.CHANGED)
        if known.removed_at is not None:
            return Action.REVIVED
        return Action.UNCHANGED if known.content_hash == content else Action.CHANGED

    def document(self, entry: Entry, target: Target, action: Action) -> CatalogueEntry:
        """Return what is stored of an entry under an id."""
        moment = now()
        known = target.known
        keeps_primary = known is not None and known.primary_source in entry.sources
        return CatalogueEntry(
            id=target.id,
            catalogue=self._record.catalogue,
            form=FORMS[entry.form],
            **{name: getattr(entry, name) for name in CONTENT},
            primary_source=known.primary_source if known and keeps_primary else best_first(entry.sources)[0],
            ids=entry.ids,
            quality=quality(entry),
            content_hash=entry.content_hash,
            seen_in=self._job_id,
            last_change=LastChange(job_id=self._job_id, what=Change(action.value)),
            created_at=known.created_at if known else moment,
            updated_at=moment,
        )


def sources_in(payload: bytes) -> list[str]:
    """Return the sources in an entry that can't be used otherwise, as far as they can be made out."""
    lists: Iterable[bytes] = RAW_SOURCES.findall(payload)
    texts = (text.decode("utf-8", "replace") for one in lists for text in RAW_TEXT.findall(one))
    return [address for text in texts if (address := canonical(text)) is not None]
