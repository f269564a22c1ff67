"""A finished collection, opened to be searched."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.vectors.arrays import map_array
from workers.vectors.columns import Columns
from workers.vectors.embedding import Floats
from workers.vectors.errors import SnapshotMissing, UnknownEntry
from workers.vectors.filters import Condition
from workers.vectors.fusion import Fused, fuse
from workers.vectors.lexical import Terms, WordIndex
from workers.vectors.manifest import Manifest, check_files, read_manifest
from workers.vectors.masks import Masks
from workers.vectors.names import LOOKED_AT, bears, by_words
from workers.vectors.nearest import Mask, Nearest, Rows
from workers.vectors.postings import Postings
from workers.vectors.query import FEATURES, Hit, Query, space_of
from workers.vectors.schema import Entry, Schema, Value, is_readable
from workers.vectors.space import SpaceReader
from workers.vectors.targets import Target, TargetIndex, differences
from workers.vectors.text_store import Connections, document_of, ids_after, ids_of, texts_of

ALIVE_FILE = "alive.bin"
ORDER_FILE = "order.bin"  # the living rows in the order of their ids
TEXTS_FILE = "texts.sqlite"
SPELLING_FILE = "spelling.bin"

Ranking = list[tuple[int, float]]  # places in the order of the ids, and scores


class Snapshot:
    """A snapshot, searched by any number of threads of the process that opened it.

    Open it after the fork, in the process that searches: neither the maps nor the connections survive one.
    """

    def __init__(self, folder: Path) -> None:
        """Check every file's hash, then open them.

        Raises:
            SnapshotMissing, SnapshotDamaged, SnapshotOutdated: see there what to do.
        """
        self.name = folder.name
        self.manifest: Manifest = read_manifest(folder)
        check_files(folder, self.manifest)
        self.folder = folder
        try:
            self._open(folder)
        except (FileNotFoundError, sqlite3.OperationalError):
            # whole a moment ago: cleaned away meanwhile
            raise SnapshotMissing(f"There is no snapshot {self.name}.") from None

    def _open(self, folder: Path) -> None:
        self._connections = Connections(folder / TEXTS_FILE)
        schema, forms = self.manifest.schema, dict(self.manifest.arrays)
        self._columns = Columns(folder, schema, forms, self.manifest.rows, self._connections)
        self._masks = Masks(self._columns)
        self._alive: Mask = map_array(folder / ALIVE_FILE, forms[ALIVE_FILE])
        self._order: NDArray[np.int32] = map_array(folder / ORDER_FILE, forms[ORDER_FILE])
        self._places = np.full(self.manifest.rows, -1, np.int32)
        self._places[self._order] = np.arange(len(self._order), dtype=np.int32)
        self._targets = TargetIndex(self._columns, self._alive)
        self._words = WordIndex(
            Postings(folder, forms, self.manifest.entries),
            map_array(folder / SPELLING_FILE, forms[SPELLING_FILE]),
            self.manifest.rows,
        )
        self._spaces = {
            name: SpaceReader(folder, name, space, self.manifest.spaces[name], forms)
            for name, space in schema.spaces.items()
        }

    def __len__(self) -> int:
        return self.manifest.entries

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def schema(self) -> Schema:
        """Return the form of the entries."""
        return self.manifest.schema

    @property
    def provenance(self) -> Mapping[str, str]:
        """Return what the builder was told to keep."""
        return self.manifest.provenance

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return self.manifest.size

    @property
    def recall(self) -> float:
        """Return the least share of the true ten nearest that any space finds; 1 where search is exact."""
        return min((form.recall for form in self.manifest.spaces.values()), default=1.0)

    def close(self) -> None:
        """Close the connections, when no thread searches any more; the maps go with the last reference."""
        self._connections.close()

    def search(self, query: Query) -> list[Hit]:
        """Return the best k hits, equals by id; fewer only where there are no more within the rankings' depth.

        Raises:
            InvalidQuery: if it asks for nothing, or for a space, a column or a number that can't be.
            OpenedElsewhere: in a process that another one has forked.
            SnapshotClosed: after `close`.
        """
        query.check(self.schema)
        allowed = self._masks.met_by_all(query.conditions)
        # Alone, a ranking goes no further than is asked for; the rest of it only keeps the pages apart.
        reach, depth = query.reach, query.until if query.rankings == 1 else query.depth
        rankings: dict[str, Sequence[tuple[int, float]]] = {}
        for name, vector in query.near.items():
            rankings[name] = self._ranking(self._spaces[name].search(vector, reach, allowed), depth)
        if query.targets:
            rankings[FEATURES] = self._ranking(self._targets.search(query.targets, reach, allowed), depth)
        terms = None
        if query.text is not None:
            with self._connections.lent() as connection:
                terms = self._words.understand(connection, query.text)
            most = max(reach, LOOKED_AT)
            ranking = self._ranking(self._words.search(terms, most, allowed), most)
            rankings |= by_words(ranking, self._named(terms, ranking), is_alone=query.rankings == 1)
        rankings = {name: ranking[:depth] for name, ranking in rankings.items()}
        return self._hits(fuse(rankings, query.offset, query.until), terms)

    def differences(self, targets: Mapping[str, Target], attributes: Mapping[str, Value]) -> dict[str, float]:
        """Return how far an entry's attributes are from each target, in deviations of the whole collection.

        Raises:
            InvalidQuery: if there is no such column of numbers.
        """
        return differences(targets, attributes, self._targets.spread)

    def count(self, conditions: Sequence[Condition]) -> int:
        """Return how many entries meet every condition; raises `InvalidQuery`."""
        return int(np.count_nonzero(self._met(conditions)))

    def matching(self, conditions: Sequence[Condition], limit: int) -> list[str]:
        """Return the first ids of entries that meet every condition, `limit` at most; raises as `count`."""
        places = self._places[np.flatnonzero(self._met(conditions))]
        if len(places) > limit:
            places = np.partition(places, limit)[:limit]
        return self.ids_at(self._order[np.sort(places)].astype(np.int64))

    def highest(self, column: str, k: int, conditions: Sequence[Condition] = ()) -> list[str]:
        """Return the ids of the k entries with the highest numbers in a column, equals by id; raises as `count`."""
        rows = np.flatnonzero(self._met(conditions) & np.isfinite(self._columns.numbers(column)))
        values = self._columns.numbers(column)[rows]
        if len(rows) > k:
            rows = rows[values >= np.partition(values, len(rows) - k)[len(rows) - k]]
        order = np.lexsort((self._places[rows], -self._columns.numbers(column)[rows]))
        return self.ids_at(rows[order][:k])

    def every_vector(self, space: str) -> tuple[Rows, Floats]:
        """Return the rows that have a vector, and those that are compared, of unit length, shape (rows, dimensions).

        They are in the order of their ids, so that what is made of them does not depend on how the index was built.
        """
        units = self._space(space).units
        living = self._space(space).living
        rows = self._order.astype(np.int64)
        rows = rows if living is None else rows[living[rows]]
        is_whole = np.array_equal(rows, np.arange(len(units)))
        return rows, units if is_whole else units[rows]

    def ids_at(self, rows: Rows) -> list[str]:
        """Return the ids of some rows, in the rows' order."""
        with self._connections.lent() as connection:
            return ids_of(connection, map(int, rows))

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers by row, shape (all rows,), NaN where there is none; raises `InvalidQuery`."""
        return self._columns.numbers(column)

    def _met(self, conditions: Sequence[Condition]) -> Mask:
        met = self._masks.met_by_all(conditions)
        return self._alive if met is None else met & self._alive

    def entry(self, one: str) -> Entry:
        """Return an entry as it came, its vectors scaled to unit length unless their space is standardised.

        Raises:
            UnknownEntry: if there is none of this id.
        """
        return self._entry(one, self._document(one))

    def find(self, one: str) -> Entry | None:
        """Return an entry as `entry` does; None where there is none of this id."""
        return self.find_entries((one,)).get(one)

    def find_entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Return entries by their ids, as far as they exist."""
        return {one: self._entry(one, known) for one, known in self._documents(ids)}

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries, in no order that means anything."""
        after = -1
        while True:
            with self._connections.lent() as connection:
                page = ids_after(connection, after)
            if not page:
                return
            after = page[-1][0]
            yield from (one for _, one in page)

    def vectors(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors that are compared, of unit length, shape (ids, dimensions).

        Raises:
            UnknownEntry: if an id is unknown, or its entry has no vector here.
            InvalidQuery: if there is no such space.
        """
        return self._vectors(ids, space, self._space(space).units)

    def find_vectors(self, ids: Iterable[str], space: str) -> tuple[list[str], Floats]:
        """Return those of some ids that have a vector, in their order, and the vectors that are compared.

        Raises:
            InvalidQuery: if there is no such space.
        """
        reader = self._space(space)
        rows = {one: known["row"] for one, known in self._documents(ids)}
        having = [one for one, row in rows.items() if reader.living is None or reader.living[row]]
        return having, reader.units[np.asarray([rows[one] for one in having], np.int64)]

    def originals(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors as a query takes them: not standardised, where the space is; raises as `vectors`."""
        return self._vectors(ids, space, self._space(space).originals)

    def as_query(self, direction: Floats, space: str) -> Floats:
        """Return a direction among the vectors that are compared, shape (dimensions,), as a query takes it."""
        return self._space(space).as_query(direction)

    def _vectors(self, ids: Sequence[str], space: str, every: Floats) -> Floats:
        rows = [self._document(one)["row"] for one in ids]
        living = self._space(space).living
        for one, row in zip(ids, rows, strict=True):
            if living is not None and not living[row]:
                raise UnknownEntry(f"{one} has no vector in the space {space}.")
        return every[np.asarray(rows, np.int64)]

    def _space(self, name: str) -> SpaceReader:
        space_of(self.schema, name)
        return self._spaces[name]

    def _entry(self, one: str, known: Mapping[str, Any]) -> Entry:
        vectors = {
            name: np.array(space.originals[known["row"]])
            for name, space in self._spaces.items()
            if space.originals[known["row"]].any()
        }
        return Entry(id=one, vectors=vectors, texts=known["texts"], attributes=known["attributes"])

    def _document(self, one: str) -> dict[str, Any]:
        for _, known in self._documents((one,)):
            return known
        raise UnknownEntry(f"There is no entry {one!r}.")

    def _documents(self, ids: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
        """Return what is kept of those ids that are there, in their order."""
        with self._connections.lent() as connection:
            found = [(one, document_of(connection, one)) for one in ids if is_readable(one)]
        return [(one, known) for one, known in found if known is not None]

    def _ranking(self, found: Nearest, k: int) -> Ranking:
        """Return the best k of what was found, equals in the order of their ids."""
        places = self._places[found.rows]
        order = np.lexsort((places, -found.scores))[:k]
        return list(zip(places[order].tolist(), found.scores[order].tolist(), strict=True))

    def _named(self, terms: Terms, ranking: Ranking) -> set[int]:
        """Return the places of those whose name is all that is asked for."""
        places = np.asarray([place for place, _ in ranking[:LOOKED_AT]], np.int64)
        rows = self._order[places].astype(np.int64)
        rows = rows[self._words.having_all(terms, rows)]
        with self._connections.lent() as connection:
            texts = texts_of(connection, rows.tolist())
        return {int(self._places[row]) for row, one in texts.items() if bears(terms, one, self.schema)}

    def _hits(self, fused: Sequence[Fused[int]], terms: Terms | None) -> list[Hit]:
        ids = self.ids_at(self._order[[one.key for one in fused]].astype(np.int64))
        asked = {} if terms is None else terms.asked
        return [
            Hit(id=name, score=one.score, parts=one.parts, asked=asked) for name, one in zip(ids, fused, strict=True)
        ]
