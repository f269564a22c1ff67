"""Bringing a backup back: part by part, each compared with the server's own answer; then indexes; then references."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel
from pymongo.errors import BulkWriteError, OperationFailure

from deploy.backup.archive import Archive
from deploy.backup.errors import RestoreWrong, TargetInUse, TargetNotEmpty
from deploy.backup.libraries import database_of, owners_of
from deploy.backup.manifest import KeptCollection, Manifest, Part, definitions, from_text, indexes_from_text
from deploy.backup.mending import mend, without_duplicates
from deploy.backup.streams import read_documents
from shared.errors import DatabaseTooNew
from shared.migrations import LATEST
from shared.model import Db
from shared.store import restoring, slots
from shared.store.id_ranges import collections_of

BATCH = 500
BATCH_BYTES = 8 << 20
"""Documents that are sent, and read back, together: bounds the memory."""

DUPLICATE = 11000
UNBUILDABLE = (DUPLICATE, 67, 85, 86)
"""Codes of what keeps an index from being built: duplicates, or a definition that this server does not take."""

INDEXED = "indexes of "
LOADED = "all documents"

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
Tell = Callable[[KeptCollection], None]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a restore came to."""

    backup: Manifest
    database: str
    notes: list[str] = field(default_factory=list)
    """What is not as it was, and why."""


def restore(db: Db, archive: Archive, *, force: bool, tell: Tell = lambda kept: None) -> Restored:
    """Restore a backup into a database and those beside it, or go on with that; the database is usable once it ends.

    Raises:
        BackupDamaged: the backup is not whole; nothing was changed.
        DatabaseTooNew: a later version made it.
        TargetInUse: workers live there.
        TargetNotEmpty: there are documents, and no `force`.
        RestoreWrong: the server does not return what it was given.
    """
    manifest = archive.check()
    if manifest.migration > LATEST:
        raise DatabaseTooNew(
            f"The backup is of a database at migration {manifest.migration}, and this version of Backline knows those"
            f" up to {LATEST}."
        )
    if slots.find_alive(db):
        raise TargetInUse(f"Workers run on the database {db.name}.")
    _begin(db, manifest, force=force)
    done = restoring.done(db)
    restored = Restored(backup=manifest, database=db.name)
    for kept in manifest.collections:
        _load(db, archive, kept, done)
        tell(kept)
    if LOADED not in done:  # later on, documents whose time is up are taken away
        _count(db, manifest)
        restoring.note(db, [LOADED])
    for kept in manifest.collections:
        if f"{INDEXED}{kept.owner}/{kept.name}" not in done:
            restored.notes.extend(_index(db, kept))
            restoring.note(db, [f"{INDEXED}{kept.owner}/{kept.name}"])
    restored.notes.extend(mend(db, [owner for owner in manifest.owners if owner]))
    restoring.end(db)
    return restored


def _begin(db: Db, manifest: Manifest, *, force: bool) -> None:
    """Make room, unless this very backup has been begun here before."""
    if restoring.backup_of(db) == manifest.id:
        return
    owners = sorted({*owners_of(db), *(owner for owner in manifest.owners if owner)})
    targets = [db, *(database_of(db, owner) for owner in owners)]
    full = next((one.name for one in targets if _has_documents(one)), None)
    if full is not None and not force:
        raise TargetNotEmpty(f"The database {full} is not empty.")
    for one in targets:
        db.client.drop_database(one.name)
    restoring.begin(db, manifest.id)


def _has_documents(database: Db) -> bool:
    return any(database[name].find_one({}, {"_id": 1}) for name in collections_of(database))


# Documents


def _load(db: Db, archive: Archive, kept: KeptCollection, done: set[str]) -> None:
    database = database_of(db, kept.owner)
    if all(part.file in done for part in kept.parts) and kept.parts:
        return
    if kept.name not in collections_of(database):
        database.create_collection(kept.name, **from_text(kept.options))
    for part in kept.parts:
        if part.file not in done:
            _load_part(database, archive, kept.name, part)
            restoring.note(db, [part.file])


def _load_part(database: Db, archive: Archive, name: str, part: Part) -> None:
    collection = database.get_collection(name, codec_options=_RAW)
    with archive.file(part.file) as file:
        for batch in _batches(read_documents(file, part.file)):
            documents = [RawBSONDocument(raw) for raw in batch]
            try:
                collection.insert_many(documents, ordered=False, bypass_document_validation=True)
            except BulkWriteError as error:
                # What an earlier attempt has brought is there already, and is compared like the rest.
                if any(one["code"] != DUPLICATE for one in error.details["writeErrors"]):
                    raise
            found = collection.find({"_id": {"$in": [document["_id"] for document in documents]}})
            stored = {bytes(cast(RawBSONDocument, document).raw) for document in found}
            if any(raw not in stored for raw in batch):
                raise RestoreWrong(f"{database.name}.{name} does not hold every document of {part.file} as it was.")


def _batches(documents: Iterator[bytes]) -> Iterator[Sequence[bytes]]:
    batch: list[bytes] = []
    size = 0
    for raw in documents:
        batch.append(raw)
        size += len(raw)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count(db: Db, manifest: Manifest) -> None:
    for kept in manifest.collections:
        database = database_of(db, kept.owner)
        found = int(database.command("count", kept.name)["n"])
        if found != kept.documents:
            raise RestoreWrong(f"{database.name}.{kept.name} has {found:,} documents in place of {kept.documents:,}.")


# Indexes


def _index(db: Db, kept: KeptCollection) -> list[str]:
    """Build a collection's indexes and compare them with those that it had; return what could not be built."""
    database = database_of(db, kept.owner)
    wanted = indexes_from_text(kept.indexes)
    present = {one["name"] for one in definitions(database, kept.name)}
    notes = []
    for definition in wanted:
        if definition["name"] not in present:
            notes += _build(database, kept.name, definition)
    found = definitions(database, kept.name)
    if found != wanted and not notes:
        raise RestoreWrong(f"The indexes of {database.name}.{kept.name} are not those of the backup.")
    return notes


def _build(database: Db, name: str, definition: dict[str, Any]) -> list[str]:
    options = {key: value for key, value in definition.items() if key != "key"}
    index = IndexModel(list(definition["key"].items()), **options)
    try:
        database[name].create_indexes([index])
    except OperationFailure as error:
        if error.code not in UNBUILDABLE:
            raise
        if error.code != DUPLICATE:
            return [
                f"{database.name}.{name} has no index {options['name']}: {error.details and error.details['errmsg']}"
            ]
        removed = without_duplicates(database, name, definition)
        database[name].create_indexes([index])
        return removed
    return []
