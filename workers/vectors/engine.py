"""What every engine is: a store of versions of one collection, of which each is searched alike.

Two there are: `shelf`, files on this machine, and `qdrant`, a server for what one machine can't hold.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats
from workers.vectors.errors import EngineMissing
from workers.vectors.filters import Condition
from workers.vectors.nearest import Rows
from workers.vectors.query import Hit, Query
from workers.vectors.schema import Entry, Schema, Value
from workers.vectors.shelf import Shelf
from workers.vectors.targets import Target


class Index(Protocol):
    """A published version, opened to be searched by any number of threads of this process; it never changes."""

    @property
    def name(self) -> str:
        """Return the name that it was published under."""

    @property
    def schema(self) -> Schema:
        """Return the form of the entries."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """Return what the builder was told to keep."""

    @property
    def size(self) -> int:
        """Return about how many bytes it takes."""

    @property
    def recall(self) -> float:
        """Return the least share of the true ten nearest that any space finds; 1 where search is exact."""

    def __len__(self) -> int:
        """Return how many entries there are."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def close(self) -> None:
        """Let go of what it holds, when no thread searches any more."""

    def search(self, query: Query) -> list[Hit]:
        """Return the best k hits, equals by id; raises `InvalidQuery`."""

    def entry(self, one: str) -> Entry:
        """Return an entry, its vectors of unit length unless their space is standardised; raises `UnknownEntry`."""

    def find(self, one: str) -> Entry | None:
        """Return an entry as `entry` does; None where there is none of this id."""

    def find_entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Return entries by their ids, as far as they exist; at once, for a server is asked once."""

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries, in no order that means anything."""

    def vectors(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors that are compared, of unit length; raises `UnknownEntry`, `InvalidQuery`."""

    def find_vectors(self, ids: Iterable[str], space: str) -> tuple[list[str], Floats]:
        """Return those of some ids that have a vector, in their order, and the vectors; raises `InvalidQuery`."""

    def originals(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors as a query takes them: not standardised, where the space is; raises as `vectors`."""

    def as_query(self, direction: Floats, space: str) -> Floats:
        """Return a direction among the vectors that are compared, shape (dimensions,), as a query takes it."""

    def differences(self, targets: Mapping[str, Target], attributes: Mapping[str, Value]) -> dict[str, float]:
        """Return how far an entry's attributes are from each target, in deviations of the whole collection.

        Raises `InvalidQuery` if there is no such column of numbers.
        """

    def count(self, conditions: Sequence[Condition]) -> int:
        """Return how many entries meet every condition; raises `InvalidQuery`."""

    def matching(self, conditions: Sequence[Condition], limit: int) -> list[str]:
        """Return the ids of entries that meet every condition, `limit` at most, always the same; raises as `count`."""

    def highest(self, column: str, k: int, conditions: Sequence[Condition] = ()) -> list[str]:
        """Return the ids of the k entries with the highest numbers in a column, highest first; raises as `count`."""

    # The whole of it. A row is the place of an entry in an order that the version keeps; some may be of no entry.

    def every_vector(self, space: str) -> tuple[Rows, Floats]:
        """Return the rows that have a vector, and those that are compared, of unit length, shape (rows, dimensions)."""

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers by row, shape (all rows,), NaN where there is none; raises `InvalidQuery`."""

    def ids_at(self, rows: Rows) -> list[str]:
        """Return the ids of some rows, in the rows' order."""


class Build(Protocol):
    """A version in the making, which nobody else sees."""

    def put(self, entry: Entry) -> None:
        """Add an entry, in place of the one of this id if there is one; raises `InvalidEntry`."""

    def remove(self, one: str) -> None:
        """Take the entry of this id out, if there is one."""

    def publish(self) -> str:
        """Complete and check the version; return the name that it can be opened under; raises `SnapshotUnsound`."""


class Store(Protocol):
    """The versions of one collection of one owner."""

    def names(self) -> list[str]:
        """Return the names of all published versions, the oldest first."""

    def open(self, name: str) -> Index:
        """Return a version; raises `SnapshotMissing`, `SnapshotDamaged`, `SnapshotOutdated`."""

    def building(
        self,
        schema: Schema,
        *,
        base: str | None = None,
        provenance: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> AbstractContextManager[Build]:
        """Give a build to fill and to publish; what is not published when the block ends is thrown away."""

    def clean(self, *, keep: Collection[str] = (), last: int = 2) -> list[str]:
        """Delete all but the newest `last` versions and those in `keep`; return the names of what went."""


def store_of(folder: Path, collection: str, *, url: str | None = None, key: str | None = None) -> Store:
    """Return the store of a collection, in the process that uses it: a connection must not cross a fork.

    Args:
        folder: where its snapshots lie; with a server, where a build keeps what it has not sent yet.
        collection: its name on a server, of letters, digits, `.`, `_` and `-`; nobody else's begins with it and a dot.
        url: the Qdrant server; None for files in the folder.
        key: what that server asks for.

    Raises:
        EngineMissing: if the extra for that server is not installed.
    """
    if url is None:
        return Shelf(folder)
    try:
        qdrant = import_module("workers.vectors.qdrant.store")
    except ModuleNotFoundError as error:
        if error.name != "qdrant_client":
            raise
        raise EngineMissing("qdrant-client is not installed: `pip install 'backline[qdrant]'` does it.") from None
    made: Store = qdrant.connect(url, key, collection, folder)
    return made
