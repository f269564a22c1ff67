"""Taking a backup, also while jobs run: part by part, in an order that makes the whole one from which all can go on.

Nothing is stopped, and no server has to know of snapshots. What comes of that: each document is whole, as it was at
one moment between the beginning and the end, but not all at the same one. `libraries.ENGINE` says why that does no
harm, and `mending` what a restore makes of the few records that are of later than their job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from pymongo.errors import OperationFailure

from deploy.backup.archive import FOLDER_MODE, Draft
from deploy.backup.errors import BackupExists, NothingToKeep
from deploy.backup.libraries import ENGINE, database_of, in_order, owners_of
from deploy.backup.manifest import MAIN, Beginning, KeptCollection, Manifest, Part, definitions, to_text
from deploy.backup.streams import write_documents
from shared.clock import new_id, now
from shared.keys import KEY_FILE, OWNER_ONLY
from shared.migrations import LATEST
from shared.model import Db
from shared.store import migrations, restoring, sizes
from shared.store.id_ranges import RANGES_MAX, SIZE, IdRange, collections_of, ranges_of

PART_BYTES = 128 << 20
"""About what a part weighs, uncompressed: what is done again at most after a kill."""
PART_DOCUMENTS_MIN = 64
BATCH = 1000
BATCH_BYTES = 4 << 20
"""How many documents are asked for at a time, and what they weigh then: the server alone would send up to 48 MB."""

NAMESPACE_GONE = 26

Tell = Callable[[KeptCollection], None]


def take(db: Db, target: Path, *, key_file: Path | None, tell: Tell = lambda kept: None) -> Manifest:
    """Take a backup of an installation, or go on with one that was broken off.

    Memory is bounded by one answer of the server, whatever the database weighs.

    Raises:
        BackupExists, BackupInUse: `target` is taken.
        NothingToKeep: there is no installation.
        DatabaseTooNew, RestoreUnfinished: this version can't tell what it would keep.
    """
    migrations.check_version(db, LATEST)
    restoring.refuse_unfinished(db)
    if not collections_of(db):
        raise NothingToKeep(f"The database {db.name} does not exist or is empty.")
    with Draft(target).opened() as draft:
        beginning = _begun(db, draft)
        for owner, name in _wanted(db, draft):
            _keep(db, draft, owner, name, tell)
        manifest = Manifest(
            **beginning.model_dump(),
            finished_at=now(),
            collections=tuple(one for one in draft.collections if (one.owner, one.name) in draft.complete),
            key_file=_keep_key(draft, key_file),
        )
        draft.finish(manifest)
        return manifest


def _begun(db: Db, draft: Draft) -> Beginning:
    if draft.beginning is None:
        made_by = version("backline")
        database_version = migrations.version(db)
        draft.note(
            "begin",
            Beginning(
                id=new_id("backup"),
                version=made_by,
                migration=database_version,
                database=db.name,
                started_at=now(),
            ),
        )
    beginning = draft.beginning
    assert beginning is not None
    if (beginning.database, beginning.migration) != (db.name, migrations.version(db)):
        raise BackupExists(
            f"{draft.folder} is the beginning of a backup of {beginning.database} at migration {beginning.migration}."
        )
    return beginning


def _wanted(db: Db, draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield what is still to be kept: the engine's records, then every library, that of the main database included.

    Which libraries there are is looked up behind the engine's records: a job that was seen has its owner's library.
    """
    begun = [(one.owner, one.name) for one in draft.collections]
    yield from ((MAIN, name) for name in ENGINE if (MAIN, name) not in draft.complete)
    for owner in (MAIN, *owners_of(db)):
        names = in_order(collections_of(database_of(db, owner)), is_main=owner == MAIN)
        for name in names:
            if (owner, name) not in draft.complete and (owner, name) not in begun[:-1]:
                yield owner, name


def _keep(db: Db, draft: Draft, owner: str, name: str, tell: Tell) -> None:
    """Keep a collection, or the rest of it."""
    database = database_of(db, owner)
    last = draft.collections[-1] if draft.collections else None
    if last is None or (last.owner, last.name) != (owner, name):
        found = _described(database, owner, name)
        if found is None:  # it was dropped since the names were read
            return
        draft.note("collection", found)
    kept = draft.collections[-1]
    behind = kept.parts[-1].ids if kept.parts else None
    for ids in ranges_of(database, name, behind=behind, size=kept.size):
        draft.note("part", _part(database, draft, ids))
    draft.note("complete")
    tell(draft.collections[-1])


def _described(database: Db, owner: str, name: str) -> KeptCollection | None:
    found = next(iter(database.list_collections(filter={"name": name})), None)
    if found is None:
        return None
    options = {key: value for key, value in found.get("options", {}).items() if key != "uuid"}
    try:
        indexes = definitions(database, name)
    except OperationFailure as error:
        if error.code != NAMESPACE_GONE:
            raise
        return None
    figures = sizes.of_collection(database, name)
    average = max(figures.average, 1)
    return KeptCollection(
        owner=owner,
        name=name,
        options=to_text(options),
        indexes=to_text(indexes),
        size=max(PART_DOCUMENTS_MIN, min(PART_BYTES // average, max(SIZE, figures.documents // RANGES_MAX))),
        batch=max(1, min(BATCH, BATCH_BYTES // average)),
    )


def _part(database: Db, draft: Draft, ids: IdRange) -> Part:
    kept = draft.collections[-1]
    folder = f"libraries/{kept.owner}" if kept.owner else "main"
    file = f"{folder}/{quote(kept.name, safe='')}/{len(kept.parts):06}.bson.zst"
    path = draft.folder / file
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    written = write_documents(path, _batches(database, ids, kept.batch))
    return Part(file=file, sha256=written.sha256, documents=written.documents, bytes=written.bytes, ids=ids)


def _batches(database: Db, ids: IdRange, size: int) -> Iterator[bytes]:
    found = database[ids.collection].find_raw_batches(ids.query(), batch_size=size)
    for batch in found:
        yield bytes(batch)  # type: ignore[arg-type]  # pymongo types batches as documents


def _keep_key(draft: Draft, key_file: Path | None) -> str | None:
    """Keep the stack's own key beside the database, where it lies in a file that may be read."""
    if key_file is None or not key_file.is_file():
        return None
    path = draft.folder / KEY_FILE
    path.touch(mode=OWNER_ONLY)
    path.write_bytes(key_file.read_bytes())
    return KEY_FILE
