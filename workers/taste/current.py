"""The snapshot that an index's pointer names, opened once per process and kept until the pointer moves on."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from shared.errors import IndexMissing, ItemFailed
from shared.jobs.job import JobContext
from shared.store import indexes
from shared.store.indexes import IndexName, IndexPointer
from workers.indexing.stores import store_in
from workers.taste.collection import NAMINGS, Collection
from workers.vectors.errors import SnapshotDamaged, SnapshotMissing, SnapshotOutdated

OPEN_MAX = 4
"""So many indexes stay open; each is mapped, not read into memory, but its most used entries are."""
_TRIES = 3  # a snapshot may be cleaned away between the look at its pointer and its opening


@dataclass(frozen=True, kw_only=True, eq=False)
class Current:
    """An index as it is now."""

    pointer: IndexPointer
    collection: Collection


_open: OrderedDict[tuple[int, str, str], Current] = OrderedDict()  # by process, too: no map survives a fork


def current(context: JobContext, index: IndexName) -> Current:
    """Return the owner's index as it is now; call it once for each chunk.

    Raises:
        ItemFailed: `index_missing` or `index_damaged`, with what to do.
        EngineUnavailable, EngineRefused, EngineMissing: see there; where indexes are on another server.
    """
    folder = str(indexes.folder(context.settings.index_dir, context.owner, index))
    key = (os.getpid(), folder, str(index))
    for attempt in range(_TRIES):
        pointer = indexes.find(context.db, context.owner, index)
        if pointer is None:
            raise ItemFailed(IndexMissing.code, f"There is no index {index.value!r} yet. {IndexMissing.advice}")
        known = _open.get(key)
        if known is not None and known.pointer.snapshot == pointer.snapshot:
            _open.move_to_end(key)
            return known
        try:
            return _opened(key, pointer, context, index)
        except SnapshotMissing:
            if attempt == _TRIES - 1:
                raise ItemFailed("index_damaged", _damaged(index, "its files are gone")) from None
        except (SnapshotDamaged, SnapshotOutdated) as error:
            raise ItemFailed("index_damaged", _damaged(index, error.message)) from None
    raise AssertionError("unreachable")


def _opened(key: tuple[int, str, str], pointer: IndexPointer, context: JobContext, index: IndexName) -> Current:
    snapshot = store_in(context.settings, context.owner, index).open(pointer.snapshot)
    found = Current(pointer=pointer, collection=Collection(snapshot, NAMINGS[index]))
    former = _open.pop(key, None)
    _open[key] = found
    if former is not None:
        former.collection.snapshot.close()
    while len(_open) > OPEN_MAX:
        _open.popitem(last=False)[1].collection.snapshot.close()
    return found


def _damaged(index: IndexName, reason: str) -> str:
    return f"The index {index.value!r} can't be opened: {reason}. Build it anew: a job vector_index with `rebuild`."
