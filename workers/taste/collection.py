"""A snapshot as recommendations look at it, with what is asked again and again kept at hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from workers.taste.pool import labels, track_of
from workers.vectors.embedding import Floats
from workers.vectors.engine import Index
from workers.vectors.errors import UnknownEntry
from workers.vectors.filters import Condition, Excluding, HasAny, HasNone
from workers.vectors.query import Query
from workers.vectors.schema import Entry
from workers.vectors.words import fold

ENTRIES_KEPT = 20_000  # some 40 MB
TAGS_KEPT = 50_000
TAGS = "tags"
TEXT_SPACE = "text"
_EVERYWHERE = 0.9  # of all entries; a tag that more of them have tells none apart
_COPIES_MAX = 100  # users' copies of one track that are looked through

Key = TypeVar("Key")
Value = TypeVar("Value")


class Naming(Protocol):
    """How users' records name the entries of one kind of collection."""

    space: str
    """Where likeness is looked for."""

    def guesses(self, user_id: str, name: str) -> Sequence[str]:
        """Return the ids that a name most likely stands for, the likeliest first."""

    def find(self, collection: "Collection", user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""

    def unseen(self, collection: "Collection", ids: Sequence[str]) -> Condition:
        """Return what is met by what is none of these entries, nor another copy of one."""


class Collection:
    """One snapshot; keep it as long as it is current, in one thread."""

    def __init__(self, snapshot: Index, naming: Naming) -> None:
        self.snapshot = snapshot
        self.naming = naming
        self.space = naming.space
        self._entries: dict[str, Entry | None] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._shares: dict[str, float] = {}

    def find(self, user_id: str, name: str) -> str | None:
        """Return the entry that a user means by a name; None where there is none."""
        return self.naming.find(self, user_id, name)

    def read_meant(self, user_id: str, names: Iterable[str]) -> None:
        """Have at hand what a user most likely means by some names, before `find` looks for each."""
        self.read(one for name in names for one in self.naming.guesses(user_id, name))

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

    def read(self, ids: Iterable[str]) -> None:
        """Have entries at hand that will be asked for one by one: all at once costs a server one question."""
        unread = [one for one in ids if one not in self._entries][:ENTRIES_KEPT]
        found = self.snapshot.find_entries(unread)
        for one in unread:
            _kept(self._entries, one, found.get, ENTRIES_KEPT)

    def _entry(self, one: str) -> Entry | None:
        return _kept(self._entries, one, self._read, ENTRIES_KEPT)

    def _read(self, one: str) -> Entry | None:
        return self.snapshot.find(one)

    def tags(self, one: str) -> dict[str, str]:
        """Return the tags of an entry: as they are compared -> as they are written."""
        return _kept(self._tags, one, self._folded_tags, ENTRIES_KEPT)

    def _folded_tags(self, one: str) -> dict[str, str]:
        return {fold(tag): tag for tag in labels(self.entry(one), TAGS)}

    def genre(self, one: str) -> str | None:
        """Return the tag of an entry that the most entries have, which names a genre rather than a detail."""
        return max(self.kinds(one), key=lambda tag: (self.share(tag), tag), default=None)

    def kinds(self, one: str) -> list[str]:
        """Return those tags of an entry that not nearly every entry has, as they are compared."""
        return [tag for tag in self.tags(one) if self.share(tag) <= _EVERYWHERE]

    def share(self, tag: str) -> float:
        """Return the share of all entries that have a tag, 0 to 1."""
        return _kept(self._shares, tag, self._count, TAGS_KEPT)

    def _count(self, tag: str) -> float:
        return self.snapshot.count((HasAny(TAGS, (tag,)),)) / max(len(self.snapshot), 1)

    def vectors(self, ids: Sequence[str], space: str | None = None) -> tuple[list[str], Floats]:
        """Return those of some ids that have a vector, and the vectors, of unit length, shape (ids, dimensions)."""
        return self.snapshot.find_vectors(ids, space or self.space)

    def near(self, direction: Floats, k: int, conditions: Sequence[Condition], space: str | None = None) -> list[str]:
        """Return the ids of the k entries nearest to a direction among the vectors that are compared."""
        chosen = space or self.space
        query = Query(near={chosen: self.snapshot.as_query(direction, chosen)}, conditions=conditions, k=k)
        return [hit.id for hit in self.snapshot.search(query)]

    def has_space(self, space: str) -> bool:
        """Tell whether entries have vectors of this kind."""
        return space in self.snapshot.schema.spaces

    def has_number(self, column: str) -> bool:
        """Tell whether entries have numbers of this name."""
        return column in self.snapshot.schema.columns


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

    def guesses(self, user_id: str, name: str) -> Sequence[str]:
        """Return the ids that a name may stand for."""
        return name, f"track-{name}"

    def find(self, collection: Collection, user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""
        return next(filter(collection.has, self.guesses(user_id, name)), None)

    def unseen(self, collection: Collection, ids: Sequence[str]) -> Condition:
        """Return what is met by what is none of these entries."""
        return Excluding(ids)


class TrackNaming:
    """Entries of the tracks' collection: by the track's id, the user's own copy first."""

    space = "audio"

    def guesses(self, user_id: str, name: str) -> Sequence[str]:
        """Return the user's own tracks that a name may stand for."""
        return list(dict.fromkeys(f"{user_id}\n{track}" for track in (name, name.removeprefix("track-"))))

    def find(self, collection: Collection, user_id: str, name: str) -> str | None:
        """Return the entry that a user means; None where there is none."""
        for own in self.guesses(user_id, name):
            if collection.has(own):
                return own
            track = own.removeprefix(f"{user_id}\n")
            copies = collection.snapshot.matching((HasAny("track", (track,)),), _COPIES_MAX)
            collection.read(copies)
            # Labels make no difference of case, ids do.
            exact = [one for one in copies if track_of(collection.entry(one)) == track]
            if exact:
                return min(exact)
        return None

    def unseen(self, collection: Collection, ids: Sequence[str]) -> Condition:
        """Return what is met by what is another track, whoever's."""
        return HasNone("track", [track_of(collection.entry(one)) for one in ids])


NAMINGS: Mapping[str, Naming] = {"catalogue": CatalogueNaming(), "tracks": TrackNaming()}
