"""Files that a job has made, on this machine: what broke off goes on, and what arrives is held against its hash."""

from __future__ import annotations

import hashlib
import os
import time
from io import FileIO
from pathlib import Path

from api.cli.client import AWAY, Client, Json, RestartNeeded
from api.cli.errors import CommandError, NotReachable, Refused

ATTEMPTS = 8
"""In a row that bring nothing: however often it breaks off, a download goes on as long as it gets on."""
PAUSE_SECONDS = 0.5
PART = ".part"


class DamagedDownload(CommandError):
    """What arrived is not what was sent."""

    code = "damaged_download"
    advice = "Run the command again."


class NotWritten(CommandError):
    """The file can't be written on this machine."""

    code = "not_written"
    advice = "Choose another place for --output."


def fetch(client: Client, file: Json, target: Path) -> None:
    """Download a file of a job's summary to `target`, in place only when it is whole.

    What an earlier call has left of the same file is gone on with.

    Raises:
        DamagedDownload: it arrived otherwise than it was sent; nothing is left of it.
        NotWritten: this machine does not take it; what it did take stays for the next call.
        NotReachable: nothing came any more; what has come stays likewise.
        Refused: it has expired, for one.
    """
    real = target.resolve()  # behind a symlink, the file that it names is replaced
    part = real.with_name(f"{real.name}.{file['sha256'][:12]}{PART}")
    try:
        with FileIO(part, "a+") as stream:
            _complete(client, file, stream)
            _check(stream, file, part)
            os.fsync(stream.fileno())
        os.replace(part, real)
    except OSError as error:
        kept = f"{part} keeps what has arrived: make room and run the command again." if part.exists() else None
        raise NotWritten(f"{target} can't be written: {error.strerror or error}.", hint=kept) from None
    except NotReachable as error:
        raise NotReachable(error.message, hint=f"{part} keeps what has arrived: run the command again.") from None


def _complete(client: Client, file: Json, stream: FileIO) -> None:
    """Append what is missing, over as many connections as it takes."""
    vain = 0
    while True:
        before = stream.seek(0, os.SEEK_END)
        try:
            return _go_on(client, file, stream)
        except (NotReachable, Refused) as error:
            if isinstance(error, Refused) and error.status not in AWAY:
                raise
            vain = 0 if stream.tell() > before else vain + 1
            if vain == ATTEMPTS:
                raise
        time.sleep(PAUSE_SECONDS * 2**vain)


def _go_on(client: Client, file: Json, stream: FileIO) -> None:
    start = stream.seek(0, os.SEEK_END)
    if start > file["size"]:
        start = stream.truncate(0)
    if start == file["size"]:
        return
    try:
        for block in client.download(file["href"], start, f'"{file["sha256"]}"'):
            _write(stream, block)
    except RestartNeeded:
        stream.truncate(0)
        raise DamagedDownload("The file was replaced while it was downloaded.") from None


def _write(stream: FileIO, block: bytes) -> None:
    """Write a whole block: a disk that is nearly full takes a part of one."""
    rest = memoryview(block)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _check(stream: FileIO, file: Json, part: Path) -> None:
    stream.seek(0)
    if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
        part.unlink()
        raise DamagedDownload(f"{file['filename']} arrived damaged.")
