"""The file that an import reads: on the workers' disks, or an artifact of the owner's library."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import ArtifactNotFound, SourceUnreadable
from shared.jobs.data_import import Request
from shared.jobs.job import JobContext
from shared.model import Db
from shared.paths import from_text, is_inside
from shared.store import artifacts
from shared.store.artifacts import CHUNK_BYTES, Artifact


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


@contextmanager
def opened(request: Request, context: JobContext) -> Iterator[io.BufferedReader]:
    """Open the file of an import. Raises `SourceUnreadable`."""
    with _from_artifact(request, context) if request.artifact_id else _from_disk(request, context) as stream:
        yield stream


def _from_artifact(request: Request, context: JobContext) -> io.BufferedReader:
    try:
        artifact = artifacts.get(context.library, request.artifact_id or "")
    except ArtifactNotFound as error:
        raise SourceUnreadable(error.message) from None
    return io.BufferedReader(ArtifactFile(context.library, artifact), CHUNK_BYTES)


def _from_disk(request: Request, context: JobContext) -> io.BufferedReader:
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
    is_ours, is_file = is_inside(real, context.settings.music_roots), stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    if not is_ours or not is_file:
        file.close()
        raise SourceUnreadable(_refusal(request, "it is no file" if is_ours else None))
    return io.BufferedReader(file, CHUNK_BYTES)


def _refusal(request: Request, reason: str | None) -> str:
    if reason is None:
        return f"{request.path} is outside the folders that may be read (BACKLINE_MUSIC_ROOTS)."
    return f"{request.path} can't be read: {reason}."
