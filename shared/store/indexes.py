"""The `indexes` collection: which snapshot of an owner's index is current; readers follow it by asking each second."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from shared.errors import IndexMissing, NothingToRollBack
from shared.model import Db, Json, Record
from shared.store import audio_features, catalogue

logger = logging.getLogger(__name__)

COLLECTION = "indexes"


class IndexName(StrEnum):
    """What is searched."""

    CATALOGUE = "catalogue"  # what was imported
    TRACKS = "tracks"  # what was analysed


class Published(Record):
    """A snapshot that was built and checked, and what it holds."""

    snapshot: str  # its name in the shelf
    entries: int
    bytes: int
    embedder: str | None = None  # the id of the model that its vectors of text are from, where it has any
    with_spotify: bool = False  # whether what came from Spotify may be in it
    recall: float = 1.0  # the lowest of its spaces; 1 where search is exact
    watermark: datetime  # every change up to here is in it
    job_id: str | None = None  # that built it
    built_at: datetime


class IndexPointer(Published):
    """Which snapshot of an index is current, and the one to go back to."""

    id: str = Field(alias="_id")  # owner.name
    owner: str
    name: str  # "catalogue" or "tracks"
    before: Published | None = None  # what was current until this one came
    revision: int = 1  # goes up with every swing, by one

    @property
    def previous(self) -> str | None:
        """The snapshot before it, for rollback."""
        return None if self.before is None else self.before.snapshot

    @property
    def published(self) -> Published:
        """What is current, without the rest."""
        return Published(**{name: getattr(self, name) for name in Published.model_fields})

    @classmethod
    def following(cls, former: IndexPointer | None, published: Published, *, owner: str, name: str) -> Self:
        """Return the pointer to `published` that comes after `former`, or is the first of all."""
        return cls(
            **published.model_dump(),
            id=index_id(owner, name),
            owner=owner,
            name=name,
            before=former and former.published,
            revision=1 if former is None else former.revision + 1,
        )


def ensure_indexes(db: Db) -> None:
    """Nothing to create: the collection holds one document per index, by its id."""


def index_id(owner: str, name: str) -> str:
    """Return the key of an owner's index; neither part has a dot in it."""
    return f"{owner}.{name}"


def folder(index_dir: Path, owner: str, name: str) -> Path:
    """Return the folder of an index's snapshots."""
    return index_dir / owner / name


def find(db: Db, owner: str, name: str) -> IndexPointer | None:
    """Return the pointer of an owner's index; None where it was never built."""
    document = db[COLLECTION].find_one({"_id": index_id(owner, name)})
    return None if document is None else IndexPointer.from_document(document)


def find_all(db: Db, owner: str | None = None) -> Sequence[IndexPointer]:
    """Return the pointers of an owner, or of all, by id; one that can't be read keeps nobody from the others."""
    # The ids that begin with the owner and a dot: "/" is the character behind the dot.
    query: Json = {} if owner is None else {"_id": {"$gte": f"{owner}.", "$lt": f"{owner}/"}}
    return list(_readable(db[COLLECTION].find(query).sort("_id", ASCENDING)))


def _readable(documents: Iterable[Json]) -> Iterator[IndexPointer]:
    for document in documents:
        try:
            yield IndexPointer.from_document(document)
        except ValidationError as error:
            logger.error("%r is no pointer of an index: %s", document["_id"], error.errors()[0]["msg"])


def outdated_since(own: Db, pointer: IndexPointer) -> datetime | None:
    """Return since when an index lacks something of its owner's library; None where it has everything."""
    texts = catalogue if pointer.name == IndexName.CATALOGUE else audio_features
    changed = {"updatedAt": {"$gt": pointer.watermark}}
    first = own[texts.COLLECTION].find_one(changed, {"_id": 0, "updatedAt": 1}, sort=[("updatedAt", ASCENDING)])
    return None if first is None else first["updatedAt"]


def swing(db: Db, pointer: IndexPointer) -> bool:
    """Make what `pointer` says current; False when another has done so since its `former` was read (see `following`).

    The snapshot must be on the disk already: readers open it within a second.
    """
    document = pointer.to_document()
    if pointer.revision == 1:
        try:
            db[COLLECTION].insert_one(document)
        except DuplicateKeyError:
            return False
        return True
    query = {"_id": pointer.id, "revision": pointer.revision - 1}
    return db[COLLECTION].replace_one(query, document).matched_count == 1


def advance(db: Db, pointer: IndexPointer, watermark: datetime) -> bool:
    """Note that nothing has changed up to a moment; False when another has swung the pointer since it was read."""
    query = {"_id": pointer.id, "revision": pointer.revision}
    return db[COLLECTION].update_one(query, {"$set": {"watermark": watermark}}).matched_count == 1


def roll_back(db: Db, owner: str, name: str) -> IndexPointer:
    """Make the snapshot before the current one current again; a second time, this one once more.

    The watermark goes back with it, so the next update takes up what came since.

    Raises:
        IndexMissing: if there is no such index.
        NothingToRollBack: if it has no snapshot before the current one.
    """
    while True:
        former = find(db, owner, name)
        if former is None:
            raise IndexMissing(f"There is no index {name!r} yet.")
        if former.before is None:
            raise NothingToRollBack(f"The index {name!r} has only one snapshot.")
        pointer = IndexPointer.following(former, former.before, owner=owner, name=name)
        if swing(db, pointer):
            return pointer
