"""A snapshot as recommendations look at it, with what is asked again and again kept at hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from workers.taste.pool import labels, track_of
from workers.vectors.embedding import Floats
from workers.vectors.errors import UnknownEntry
from workers.vectors.filters import Condition, Excluding, HasAny, HasNone
from workers.vectors.query import Query
from workers.vectors.schema import Entry
from workers.vectors.snapshot import Snapshot
from workers.vectors.words import fold

ENTRIES_KEPT = 20_000  # some 40 MB
TAGS_KEPT = 50_000
TAGS = "tags"
TEXT_SPACE = "text"
_COPIES_MAX = 100  # users' copies of one track that are looked through

Key = TypeVar("Key")
Value = TypeVar("Value")


class Naming(Protocol):
    """How users' records name the entries of one kind of collection."""

    space: str
    """Where likeness is looked for."""

    def find(self, collection: "Collection", user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""

    def unseen(self, collection: "Collection", ids: Sequence[str]) -> Condition:
        """Return what is met by what is none of these entries, nor another copy of one."""


class Collection:
    """One snapshot; keep it as long as it is current, in one thread."""

    def __init__(self, snapshot: Snapshot, naming: Naming) -> None:
        self.snapshot = snapshot
        self.naming = naming
        self.space = naming.space
        self._entries: dict[str, Entry | None] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._shares: dict[str, float] = {}

    def find(self, user_id: str, name: str) -> str | None:
        """Return the entry that a user means by a name; None where there is none."""
        return self.naming.find(self, user_id, name)

    def unseen(self, ids: Sequence[str]) -> Sequence[Condition]:
        """Return the conditions that leave these entries out."""
        return (self.naming.unseen(self, ids),) if ids else ()

    def has(self, one: str) -> bool:
        """Tell whether there is an entry of this id."""
        return self._entry(one) is not None

    def entry(self, one: str) -> Entry:
        """Return an entry; raises `UnknownEntry`."""
        found = self._entry(one)
        if found is None:
            raise UnknownEntry(f"There is no entry {one!r}.")
        return found

    def _entry(self, one: str) -> Entry | None:
        return _kept(self._entries, one, self._read, ENTRIES_KEPT)

    def _read(self, one: str) -> Entry | None:
        try:
            return self.snapshot.entry(one)
        except UnknownEntry:
            return None

    def tags(self, one: str) -> dict[str, str]:
        """Return the tags of an entry: as they are compared -> as they are written."""
        return _kept(self._tags, one, self._folded_tags, ENTRIES_KEPT)

    def _folded_tags(self, one: str) -> dict[str, str]:
        return {fold(tag): tag for tag in labels(self.entry(one), TAGS)}

    def genre(self, one: str) -> str | None:
        """Return the tag of an entry that the most entries have, which names a genre rather than a detail."""
        return max(self.tags(one), key=lambda tag: (self.share(tag), tag), default=None)

    def share(self, tag: str) -> float:
        """Return the share of all entries that have a tag, 0 to 1."""
        return _kept(self._shares, tag, self._count, TAGS_KEPT)

    def _count(self, tag: str) -> float:
        return self.snapshot.count((HasAny(TAGS, (tag,)),)) / max(len(self.snapshot), 1)

    def vectors(self, ids: Sequence[str], space: str | None = None) -> tuple[list[str], Floats]:
        """Return those of some ids that have a vector, and the vectors, of unit length, shape (ids, dimensions)."""
        chosen = space or self.space
        try:
            return list(ids), self.snapshot.vectors(ids, chosen)
        except UnknownEntry:
            kept = [one for one in ids if self._has_vector(one, chosen)]
            return kept, self.snapshot.vectors(kept, chosen)

    def _has_vector(self, one: str, space: str) -> bool:
        try:
            self.snapshot.vectors((one,), space)
        except UnknownEntry:
            return False
        return True

    def near(self, direction: Floats, k: int, conditions: Sequence[Condition], space: str | None = None) -> list[str]:
        """Return the ids of the k entries nearest to a direction among the vectors that are compared."""
        chosen = space or self.space
        query = Query(near={chosen: self.snapshot.as_query(direction, chosen)}, conditions=conditions, k=k)
        return [hit.id for hit in self.snapshot.search(query)]

    def has_space(self, space: str) -> bool:
        """Tell whether entries have vectors of this kind."""
        return space in self.snapshot.manifest.schema.spaces

    def has_number(self, column: str) -> bool:
        """Tell whether entries have numbers of this name."""
        return column in self.snapshot.manifest.schema.columns


def _kept(known: dict[Key, Value], key: Key, make: Callable[[Key], Value], most: int) -> Value:
    """Return what is known under a key, or what is made for it now; the oldest goes when there are too many."""
    if key in known:
        return known[key]
    made = make(key)
    if len(known) >= most:
        del known[next(iter(known))]
    known[key] = made
    return made


class CatalogueNaming:
    """Entries of the catalogue: by their own ids; a track also by its bare id."""

    space = TEXT_SPACE

    def find(self, collection: Collection, user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""
        return next((one for one in (name, f"track-{name}") if collection.has(one)), None)

    def unseen(self, collection: Collection, ids: Sequence[str]) -> Condition:
        """Return what is met by what is none of these entries."""
        return Excluding(ids)


class TrackNaming:
    """Entries of the tracks' collection: by the track's id, the user's own copy first."""

    space = "audio"

    def find(self, collection: Collection, user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""
        for track in dict.fromkeys((name, name.removeprefix("track-"))):
            if collection.has(f"{user_id}\n{track}"):
                return f"{user_id}\n{track}"
            copies = collection.snapshot.matching((HasAny("track", (track,)),), _COPIES_MAX)
            # Labels make no difference of case, ids do.
            exact = [one for one in copies if track_of(collection.entry(one)) == track]
            if exact:
                return min(exact)
        return None

    def unseen(self, collection: Collection, ids: Sequence[str]) -> Condition:
        """Return what is met by what is another track, whoever's."""
        return HasNone("track", [track_of(collection.entry(one)) for one in ids])


NAMINGS: Mapping[str, Naming] = {"catalogue": CatalogueNaming(), "tracks": TrackNaming()}
