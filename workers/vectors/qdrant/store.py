"""The versions of one collection on a Qdrant server.

A version is a collection with an alias. The alias comes last, when the collection is whole and checked, so a collection
without one is nobody's: a build that is at work, or what a killed one left.
"""

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from qdrant_client import QdrantClient

from workers.vectors.errors import InvalidSchema, SnapshotMissing, SnapshotOutdated, VectorsError
from workers.vectors.qdrant.asking import asking, client_of
from workers.vectors.qdrant.build import Place, QdrantBuild
from workers.vectors.qdrant.claim import claimed
from workers.vectors.qdrant.index import QdrantIndex
from workers.vectors.schema import Schema

TIMEOUT_SECONDS = 30

_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,159}")
_VERSION = r"\d{8}T\d{12}-[0-9a-f]{8}"
_POINTS = ".points"  # the end of a collection's name; the rest is its alias
_NEWEST = "newest"
_SPOOL = ".spool-"


def connect(url: str, key: str | None, collection: str, folder: Path) -> "QdrantStore":
    """Return the store of a collection on a server, which is not asked yet."""
    return QdrantStore(client_of(url, key, TIMEOUT_SECONDS, os.getpid()), collection, folder)


class QdrantStore:
    """The versions of a collection; any number of processes may open them while one builds."""

    def __init__(self, client: QdrantClient, collection: str, folder: Path) -> None:
        """Speak of all that begins with this name and a dot; builds keep in `folder` what they have not sent.

        Raises:
            InvalidSchema: if the name has other characters than letters, digits, dots, underscores and hyphens.
        """
        if not _COLLECTION.fullmatch(collection):
            raise InvalidSchema(f"{collection!r} is no name for a collection on a server.")
        self._client = client
        self._collection = collection
        self._folder = folder
        self._version = re.compile(rf"{re.escape(collection)}\.{_VERSION}")

    def names(self) -> list[str]:
        """Return the names of all published versions, the oldest first; raises as `open`."""
        return sorted(self._published())

    def open(self, name: str) -> QdrantIndex:
        """Return a version, ready to be searched.

        Raises:
            SnapshotMissing, SnapshotOutdated: see there what to do.
            EngineUnavailable, EngineRefused: see there what to do.
        """
        published = self._published()
        if name not in published:
            raise SnapshotMissing(f"There is no version {name!r}.")
        return QdrantIndex(self._client, name, published[name])

    @contextmanager
    def building(
        self,
        schema: Schema,
        *,
        base: str | None = None,
        provenance: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> Iterator[QdrantBuild]:
        """Give a build to fill and to publish; what is not published when the block ends is thrown away.

        Args:
            base: the version to start from, all of which is read; None to start from nothing.
            threads: nothing here: graphs are made by the server.

        Raises:
            BuildInProgress: if another process builds this collection, or did a minute ago and was killed.
            SnapshotMissing, SnapshotOutdated: if the base can't be used: build from nothing.
            EngineUnavailable, EngineRefused: see there what to do.
        """
        name = f"{self._collection}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        place = Place(name=name, collection=f"{name}{_POINTS}", newest=f"{self._collection}.{_NEWEST}")
        self._folder.mkdir(parents=True, exist_ok=True)
        with (
            claimed(self._client, self._collection, name),
            tempfile.TemporaryDirectory(prefix=_SPOOL, dir=self._folder) as folder,
        ):
            self._sweep(Path(folder))
            build = QdrantBuild(self._client, place, schema, folder=Path(folder), provenance=provenance or {})
            try:
                if base is not None:
                    self._copy(base, schema, build)
                yield build
            finally:
                build.close()
                self._abandon(place)

    def clean(self, *, keep: Collection[str] = (), last: int = 2) -> list[str]:
        """Delete all but the newest `last` versions and those in `keep`; return the names of what went.

        Who has one open is answered `SnapshotMissing` from then on, and opens what is current.
        """
        published = self._published()
        names = sorted(published)
        going = [name for name in names[: max(0, len(names) - last)] if name not in keep]
        for name in going:
            self._delete(published[name])
        return going

    def _copy(self, base: str, schema: Schema, build: QdrantBuild) -> None:
        before = self.open(base)
        if before.schema != schema:
            raise SnapshotOutdated(f"{base} has another schema.")
        for entry in before.every_entry():
            build.put(entry)

    def _published(self) -> dict[str, str]:
        """Return the collection of each version that has been published."""
        with asking("Listing versions"):
            aliases = self._client.get_aliases().aliases
        return {one.alias_name: one.collection_name for one in aliases if self._version.fullmatch(one.alias_name)}

    def _sweep(self, mine: Path) -> None:
        """Delete what killed builds left, on the server and here; nobody else builds while the claim is held."""
        for path in self._folder.glob(f"{_SPOOL}*"):
            if path != mine:
                shutil.rmtree(path, ignore_errors=True)
        with asking("Listing collections"):
            names = [one.name for one in self._client.get_collections().collections]
        published = set(self._published().values())  # asked last: what was named meanwhile stays
        for name in names:
            if self._version.fullmatch(name.removesuffix(_POINTS)) and name not in published:
                self._delete(name)

    def _abandon(self, place: Place) -> None:
        """Delete a collection that was not published; what can't be now is deleted by the next build."""
        with suppress(VectorsError):
            if place.name not in self._published():
                self._delete(place.collection)

    def _delete(self, collection: str) -> None:
        with suppress(SnapshotMissing), asking(f"Deleting {collection}"):
            self._client.delete_collection(collection)
