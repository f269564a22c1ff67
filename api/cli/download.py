"""Files that a job has made, on this machine: what broke off goes on, and what arrives is held against its hash."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import IO

from api.cli.client import Client, Json, RestartNeeded
from api.cli.errors import CommandError, NotReachable

ATTEMPTS = 8
PAUSE_SECONDS = 0.5
PART = ".part"


class DamagedDownload(CommandError):
    """What arrived is not what was sent."""

    code = "damaged_download"
    advice = "Run the command again."


def fetch(client: Client, file: Json, target: Path) -> None:
    """Download a file of a job's summary to `target`, in place only when it is whole.

    What an earlier call has left of the same file is gone on with. Raises `DamagedDownload`, `NotReachable`, `Refused`.
    """
    part = target.with_name(f"{target.name}.{file['sha256'][:12]}{PART}")
    with open(part, "a+b") as stream:
        for attempt in range(ATTEMPTS):
            try:
                _go_on(client, file, stream)
                break
            except NotReachable:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(PAUSE_SECONDS * 2**attempt)
        _check(stream, file, part)
    os.replace(part, target)


def _go_on(client: Client, file: Json, stream: IO[bytes]) -> None:
    """Append what is missing."""
    start = stream.seek(0, os.SEEK_END)
    if start > file["size"]:
        start = stream.truncate(0)
    if start == file["size"]:
        return
    try:
        for block in client.download(file["href"], start, f'"{file["sha256"]}"'):
            stream.write(block)
    except RestartNeeded:
        stream.truncate(0)
        raise DamagedDownload("The file was replaced while it was downloaded.") from None
    finally:
        stream.flush()


def _check(stream: IO[bytes], file: Json, part: Path) -> None:
    stream.seek(0)
    if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:  # type: ignore[arg-type]  # a real file
        part.unlink()
        raise DamagedDownload(f"{file['filename']} arrived damaged.")
