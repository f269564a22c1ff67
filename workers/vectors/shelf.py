"""The snapshots of one collection of one owner, in a folder of their own.

Which of them is current is the caller's to say: a name goes out when one is published, and comes in when one is opened.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.vectors.builder import Builder
from workers.vectors.errors import BuildInProgress, SnapshotMissing
from workers.vectors.manifest import sync, sync_path
from workers.vectors.schema import Entry, Schema
from workers.vectors.snapshot import Snapshot

_NAME = re.compile(r"\d{8}T\d{12}-[0-9a-f]{32}")
_LOCK = ".lock"
_BUILDING = ".building-"
_LEAVING = ".leaving-"


class Shelf:
    """A folder of snapshots; any number of processes may open them while one builds."""

    def __init__(self, folder: Path) -> None:
        """Speak of a folder, which the first build makes."""
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names of all published snapshots, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def open(self, name: str) -> Snapshot:
        """Return a snapshot, checked and ready to be searched, in this process alone.

        Raises:
            SnapshotMissing, SnapshotDamaged, SnapshotOutdated: see there what to do.
        """
        if not _NAME.fullmatch(name):
            raise SnapshotMissing(f"{name!r} is no snapshot's name.")
        return Snapshot(self.folder / name)

    @contextmanager
    def building(
        self,
        schema: Schema,
        *,
        base: str | None = None,
        provenance: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> Iterator["Build"]:
        """Give a build to fill and to publish; what is not published when the block ends is thrown away.

        Args:
            base: the snapshot to start from; None to start from nothing.
            threads: for making a graph, the one part that can use more than one.

        Raises:
            BuildInProgress: if another process builds here.
            SnapshotMissing, SnapshotDamaged, SnapshotOutdated: if the base can't be used: build from nothing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._sweep()
            unfinished = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=self.folder))
            try:
                before = None if base is None else self.open(base)
                builder = Builder(unfinished, schema, base=before, provenance=provenance or {}, threads=threads)
                if before is not None:
                    before.close()
                try:
                    yield Build(self, builder, unfinished)
                finally:
                    builder.abandon()
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    def clean(self, *, keep: Collection[str] = (), last: int = 2) -> list[str]:
        """Delete all but the newest `last` snapshots and those in `keep`; return the names of what went.

        Who has one open may go on reading it. A snapshot vanishes whole, never file by file.
        """
        names = self.names()
        going = [name for name in names[: max(0, len(names) - last)] if name not in keep]
        for name in going:
            leaving = self.folder / f"{_LEAVING}{name}"
            with suppress(FileNotFoundError):  # another process cleans, too
                (self.folder / name).rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
        return going

    def _sweep(self) -> None:
        """Delete what killed processes left; nobody else builds while the lock is held."""
        for path in self.folder.iterdir():
            if path.name.startswith((_BUILDING, _LEAVING)):
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of this folder, which the kernel gives back when its holder dies."""
        handle = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BuildInProgress(f"Another process is building in {self.folder}.") from None
            yield
        finally:
            os.close(handle)


class Build:
    """A snapshot in the making."""

    def __init__(self, shelf: Shelf, builder: Builder, unfinished: Path) -> None:
        self._shelf = shelf
        self._builder = builder
        self._unfinished = unfinished

    def put(self, entry: Entry) -> None:
        """Add an entry, in place of the one of this id if there is one; raises `InvalidEntry`."""
        self._builder.put(entry)

    def remove(self, one: str) -> None:
        """Take the entry of this id out, if there is one."""
        self._builder.remove(one)

    def publish(self) -> str:
        """Complete, check and store the snapshot; return its name, under which it can be opened from now on.

        Raises:
            SnapshotUnsound: if it fails its own checks; then nothing is published.
        """
        name = self._builder.finish()
        sync(self._unfinished)
        self._unfinished.rename(self._shelf.folder / name)
        sync_path(self._shelf.folder)
        return name
