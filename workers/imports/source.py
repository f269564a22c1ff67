"""The file that an import reads: on the workers' disks, or an artifact of the owner's library."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import ArtifactNotFound, SourceChanged, SourceTooLarge, SourceUnreadable
from shared.jobs.data_import import Format, Request
from shared.jobs.job import JobContext
from shared.model import Db
from shared.paths import from_text, is_inside
from shared.settings import Settings
from shared.store import artifacts, sources
from shared.store.artifacts import CHUNK_BYTES, Artifact
from workers import spool
from workers.catalogue.errors import DamagedError, TooLargeError
from workers.catalogue.packing import GZIP_MAGIC, ZSTD_MAGIC, unpacked
from workers.catalogue.unpacking import UNPACKED_TIMES

MAGICS = (GZIP_MAGIC, *ZSTD_MAGIC)
Opened = tuple[io.BufferedReader, str, Callable[[], None]]
"""A file as it came, a name for what is in it, and how to find out whether it has changed."""


class ArtifactFile(io.RawIOBase):
    """An artifact as a file that can be read anywhere."""

    def __init__(self, library: Db, artifact: Artifact) -> None:
        """Stand at the beginning."""
        super().__init__()
        self._library = library
        self._artifact = artifact
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read anywhere: always."""
        return True

    def tell(self) -> int:
        """Return where it stands."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Stand elsewhere."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._artifact.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes; 0 at the end."""
        stop = min(self._at + len(buffer), self._artifact.size)
        count = 0
        for block in artifacts.stream(self._library, self._artifact, self._at, max(stop, self._at)):
            buffer[count : count + len(block)] = block
            count += len(block)
        self._at += count
        return count


class SourceFile:
    """A file of rows that is open, and not compressed any more."""

    def __init__(self, stream: io.BufferedReader, check: Callable[[], None]) -> None:
        """Keep the file, and how to find out whether its source is another one by now."""
        self.stream = stream
        self.check = check
        """Raises `SourceChanged` if what was read may not be what the import began with."""


@contextmanager
def opened(request: Request, context: JobContext) -> Iterator[SourceFile]:
    """Open the file of an import: unpacked once on this machine, where it is compressed text.

    Raises:
        SourceUnreadable: it can't be read, or not unpacked.
        SourceTooLarge: it unpacks to more than is allowed.
        SourceChanged: it is not the one any more that the job began with.
    """
    packed, name, check = _from_artifact(request, context) if request.artifact_id else _from_disk(request, context)
    with packed:
        check()
        if request.format is Format.PARQUET or not packed.peek(4).startswith(MAGICS):
            yield SourceFile(packed, check)
            return
        with _unpacked(packed, name, check, context.settings).open("rb") as stream:
            yield SourceFile(stream, check)


def _unpacked(packed: io.BufferedReader, name: str, check: Callable[[], None], settings: Settings) -> Path:
    folder = settings.data_dir / spool.FOLDER
    path = folder / f"{name}.rows"
    most = settings.catalogue_bytes_max * UNPACKED_TIMES
    try:
        with spool.turn(folder, name):
            if not spool.is_there(path):
                spool.sweep(folder)
                with spool.appearing(path) as out:
                    out.writelines(unpacked(packed, bytes_max=most))
                    check()
    except TooLargeError as error:
        raise SourceTooLarge(error.message) from None
    except DamagedError as error:
        raise SourceUnreadable(f"The file is damaged: {error.message}") from None
    except OSError as error:
        raise SourceUnreadable(f"The file can't be unpacked: {error.strerror or error}.") from None
    return path


def _from_artifact(request: Request, context: JobContext) -> Opened:
    try:
        artifact = artifacts.get(context.library, request.artifact_id or "")
    except ArtifactNotFound as error:
        raise SourceUnreadable(error.message) from None
    file: io.BufferedReader = io.BufferedReader(ArtifactFile(context.library, artifact), CHUNK_BYTES)
    return file, artifact.sha256, lambda: None  # an artifact never changes


def _from_disk(request: Request, context: JobContext) -> Opened:
    path = os.path.realpath(from_text(request.path or ""))
    try:
        # A pipe must not be waited for.
        file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        # Whether something is there is nobody's business outside of the allowed folders.
        is_ours = is_inside(path, context.settings.music_roots)
        raise SourceUnreadable(_refusal(request, error.strerror if is_ours else None)) from None
    # Between the check and the opening, a folder may have become a symlink to elsewhere.
    real = os.path.realpath(b"/proc/self/fd/%d" % file.fileno())
    status = os.fstat(file.fileno())
    is_ours, is_file = is_inside(real, context.settings.music_roots), stat.S_ISREG(status.st_mode)
    if not is_ours or not is_file:
        file.close()
        raise SourceUnreadable(_refusal(request, "it is no file" if is_ours else None))
    # A job that has ended may be retried until it is deleted.
    keeps = 2 * context.settings.job_ttl
    noted = sources.begin(
        context.library, context.job_id, size=status.st_size, mtime_ns=status.st_mtime_ns, keeps=keeps
    )

    def check() -> None:
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns) != (noted.size, noted.mtime_ns):
            raise SourceChanged(f"{request.path} is not the file any more that the job began with.")

    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return io.BufferedReader(file, CHUNK_BYTES), hashlib.sha256(repr((real, *parts)).encode()).hexdigest(), check


def _refusal(request: Request, reason: str | None) -> str:
    if reason is None:
        return f"{request.path} is outside the folders that may be read (BACKLINE_MUSIC_ROOTS)."
    return f"{request.path} can't be read: {reason}."
