"""Which databases an installation consists of, and in which order its collections are read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deploy.backup.manifest import MAIN
from shared.access import DEFAULT_OWNER, OWNER_PATTERN
from shared.model import Db
from shared.store import artifacts, chunks, jobs, keys, outcomes, repairs, restoring, schedules, slots
from shared.store.database import library
from shared.store.id_ranges import collections_of

ENGINE = (schedules.COLLECTION, jobs.COLLECTION, chunks.COLLECTION, outcomes.COLLECTION)
"""Read first, each before what it speaks of: a job is written behind its chunks, a chunk goes when its outcome is
there, and an outcome comes behind its results. So whatever a copy says is done, it also holds."""

LAST = (
    *(artifacts.COLLECTION, artifacts.FILES, artifacts.CHUNKS),
    *(repairs.PLANS, repairs.CHANGES, repairs.QUARANTINE, repairs.UNDO),
)
"""Read last in a library: the bytes of what is named before, and how changes that were seen before are undone."""

PASSED_OVER = (slots.COLLECTION, restoring.COLLECTION)
"""Who lives at the moment, which is nothing to keep."""


def owners_of(db: Db) -> list[str]:
    """Return the owners who have a library of their own: those whom keys or jobs name, and those whose data is left.

    A database beside the main one that has jobs is another installation's.
    """
    named = {*keys.owners(db), *jobs.owners(db)} - {DEFAULT_OWNER}
    prefix = f"{db.name}_"
    databases = {name for name in db.client.list_database_names() if name.startswith(prefix)}
    left = {name.removeprefix(prefix) for name in databases}
    return sorted(owner for owner in named | left if f"{prefix}{owner}" in databases and _is_library(db, owner, named))


def _is_library(db: Db, owner: str, named: Iterable[str]) -> bool:
    if owner in named:
        return True
    if not re.fullmatch(OWNER_PATTERN, owner):
        return False
    found = set(collections_of(library(db, owner)))
    return jobs.COLLECTION not in found and bool(found - {"health"})  # the launcher's own has that alone


def database_of(db: Db, owner: str) -> Db:
    """Return the database that a backup calls by an owner, or the main one."""
    return db if owner == MAIN else library(db, owner)


def in_order(names: Iterable[str], *, is_main: bool) -> list[str]:
    """Return the collections of a database that are kept, in the order in which they are read."""
    first = ENGINE if is_main else ()
    known = {name: place for place, name in enumerate(first)}
    known |= {name: len(first) + 1 + place for place, name in enumerate(LAST)}
    kept = [name for name in names if not (is_main and name in PASSED_OVER)]
    return sorted(kept, key=lambda name: (known.get(name, len(first)), name))
