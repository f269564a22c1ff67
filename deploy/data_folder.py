"""The data folder of one stack: who holds it, which server versions made it, and what runs on it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from deploy.errors import DataFolderInUse, DataFolderUnusable, DiskAlmostFull, ForeignServerFiles
from shared.keys import KEY_FILE, OWNER_ONLY, TOKEN_KEY_FILE


def write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Put `document` at `path` as JSON, whole or not at all, readable by this user only."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> dict[str, Any] | None:
    """Return the JSON object at `path`, or None when there is none (or a torn one)."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


class DataFolder:
    """The folder, and the lock that says that we alone use it."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is touched before `lock`."""
        self.path = path.expanduser().absolute()
        self._descriptor = -1

    @property
    def key_file(self) -> Path:
        """Where the stack's own key lies, for this user's programs."""
        return self.path / KEY_FILE

    @property
    def token_key_file(self) -> Path:
        """Where the key lies under which users' tokens are encrypted."""
        return self.path / TOKEN_KEY_FILE

    @property
    def stack_file(self) -> Path:
        """Where a running stack can be found by other programs."""
        return self.path / "stack.json"

    @property
    def processes_file(self) -> Path:
        """Where every process is noted, for whoever has to clean up after a crash."""
        return self.path / "processes.json"

    @property
    def log_file(self) -> Path:
        """The readable log of all parts."""
        return self.path / "logs" / "backline.log"

    def lock(self) -> Self:
        """Make the folder and take it, until `unlock` or the end of this process.

        Raises:
            DataFolderInUse: another process holds it.
            DataFolderUnusable: it can't be made or written.
        """
        lock_file = self.path / "backline.lock"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.log_file.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
            self._take(lock_file)
        except OSError as error:
            self.unlock()
            raise DataFolderUnusable(f"The data folder {self.path} can't be used: {error}.") from error
        return self

    def _take(self, lock_file: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            holder = lock_file.read_text(errors="replace").strip() or "unknown"
            raise DataFolderInUse(f"The data folder {self.path} is in use by process {holder}.") from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def unlock(self) -> None:
        """Let go of the folder; the lock file stays, since removing it would let two processes hold it."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def refuse_if_full(self, least_mb: int) -> None:
        """Make sure that so much space is left.

        Raises:
            DiskAlmostFull: there is less.
        """
        free_mb = shutil.disk_usage(self.path).free // 1_000_000
        if free_mb < least_mb:
            raise DiskAlmostFull(f"Only {free_mb} MB are free for the data folder {self.path} ({least_mb} are needed).")

    def server_folder(self, name: str, version: str) -> Path:
        """Return the folder of the server `name`, stamped with the version that may open it.

        Raises:
            ForeignServerFiles: another version made what is in it.
        """
        folder = self.path / name
        stamp_file = self.path / "servers.json"
        stamps = read_private(stamp_file) or {}
        has_files = folder.is_dir() and any(folder.iterdir())
        if has_files and stamps.get(name) != version:
            found = stamps.get(name, "an unknown version")
            raise ForeignServerFiles(f"The files in {folder} were made by {found}; this is {version}.")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_private(stamp_file, {**stamps, name: version})
        except OSError as error:
            raise DataFolderUnusable(f"The data folder {self.path} can't be written: {error}.") from error
        return folder
