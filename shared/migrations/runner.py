"""Bringing a database to a schema: one migration after the other, once, however many people try at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread

from shared.access import DEFAULT_OWNER
from shared.clock import new_id, now
from shared.errors import MigrationLocked, UnknownMigration
from shared.migrations import MIGRATIONS
from shared.migrations.migration import Migration
from shared.model import Db
from shared.store import jobs, keys, migrations
from shared.store.database import StoreError, library
from shared.store.migrations import AppliedMigration

LEASE = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a migration did, or would do, to one database."""

    number: int
    title: str
    database: str
    documents: int


def libraries(db: Db) -> list[Db]:
    """Return the main database, and the library of every owner that anything is known of, by name."""
    owners = {*keys.owners(db), *jobs.owners(db)} - {DEFAULT_OWNER}
    return [db, *(library(db, owner) for owner in sorted(owners))]


def migrate(
    db: Db,
    *,
    to: int | None = None,
    dry_run: bool = False,
    known: Sequence[Migration] = MIGRATIONS,
    tell: Callable[[Step], None] = lambda step: None,
) -> list[Step]:
    """Apply what is missing, up to a number, and return what was done; a dry run only counts.

    Raises `MigrationLocked`, `DatabaseTooNew`, `UnknownMigration`.
    """
    migrations.check_version(db, known[-1].number)
    wanted = known[-1].number if to is None else to
    if wanted not in [one.number for one in known]:
        raise UnknownMigration(f"There is no migration {wanted}: the last one is {known[-1].number}.")
    if dry_run:
        return [_told(step, tell) for one in _missing(db, known, wanted) for step in _counted(db, one)]
    with _locked(db) as still_ours:
        steps = []
        for one in _missing(db, known, wanted):
            for step in _applied(db, one, still_ours):
                steps.append(_told(step, tell))
        return steps


def _missing(db: Db, known: Sequence[Migration], wanted: int) -> list[Migration]:
    current = migrations.version(db)
    if wanted < current:
        raise UnknownMigration(f"The database is at {current}, and nothing leads back to {wanted}.")
    return [one for one in known if current < one.number <= wanted]


def _told(step: Step, tell: Callable[[Step], None]) -> Step:
    tell(step)
    return step


def _counted(db: Db, migration: Migration) -> Iterator[Step]:
    for one in libraries(db):
        yield _step(migration, one, migration.pending(one))


def _applied(db: Db, migration: Migration, still_ours: Callable[[], None]) -> Iterator[Step]:
    """Apply a migration to every database, and only then note it: what is interrupted begins again."""
    started, documents = now(), 0
    for one in libraries(db):
        still_ours()
        changed = migration.apply(one)
        documents += changed
        yield _step(migration, one, changed)
    still_ours()
    moment = now()
    migrations.record(
        db,
        AppliedMigration(
            number=migration.number,
            title=migration.title,
            documents=documents,
            seconds=round((moment - started).total_seconds(), 3),
            applied_at=moment,
        ),
    )


def _step(migration: Migration, db: Db, documents: int) -> Step:
    return Step(number=migration.number, title=migration.title, database=db.name, documents=documents)


@contextmanager
def _locked(db: Db) -> Iterator[Callable[[], None]]:
    """Hold the lock, renewed from a thread of its own; the function that is yielded raises once it is lost."""
    token = new_id("migration")
    holder = migrations.lock(db, token, LEASE)
    if holder is not None:
        raise MigrationLocked(f"Somebody is migrating this database, or was until {holder:%H:%M:%S} UTC at the latest.")
    done, lost = Event(), Event()

    def renew() -> None:
        while not done.wait(LEASE.total_seconds() / 3):
            try:
                if not migrations.renew(db, token, LEASE):
                    lost.set()
            except StoreError:  # the next renewal may come through in time
                continue

    def still_ours() -> None:
        if lost.is_set() or not migrations.renew(db, token, LEASE):
            raise MigrationLocked("Somebody else has taken over: this run was silent for too long.")

    thread = Thread(target=renew, name="migration-lease", daemon=True)
    thread.start()
    try:
        yield still_ours
    finally:
        done.set()
        thread.join()
        migrations.unlock(db, token)
