"""The note that a running stack leaves in its data folder for programs that want to talk to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from deploy.data_folder import DataFolder, read_private, write_private
from deploy.processes import ProcessIdentity
from shared.keys import read_key_file
from shared.paths import from_text, to_text


@dataclass(frozen=True, kw_only=True)
class RunningStack:
    """Where a stack is and what it consists of."""

    url: str
    flower_url: str
    redis_url: str = field(repr=False)  # holds the password
    mongodb_uri: str = field(repr=False)
    data_dir: Path
    key_file: Path
    launcher: ProcessIdentity
    started_at: datetime
    parts: Mapping[str, int]
    """The pid of each part."""
    music_roots: tuple[Path, ...] = ()
    """The folders whose files it may read."""
    is_temporary: bool = False
    """It stops with the call that started it."""

    @property
    def key(self) -> str:
        """The key of this stack. Raises `WrongSetting` for those who may not read it."""
        return read_key_file(self.key_file).text

    def write(self, path: Path) -> None:
        """Put the note at `path`."""
        write_private(
            path,
            {
                "url": self.url,
                "flowerUrl": self.flower_url,
                "pid": self.launcher.pid,
                "pidStartTime": self.launcher.start_time,
                "keyFile": to_text(os.fsencode(self.key_file)),
                "redisUrl": self.redis_url,
                "mongodbUri": self.mongodb_uri,
                "startedAt": self.started_at.isoformat(),
                "parts": dict(self.parts),
                "musicRoots": [to_text(os.fsencode(root)) for root in self.music_roots],
                "isTemporary": self.is_temporary,
            },
        )


def read_running_stack(data_dir: Path) -> RunningStack | None:
    """Return the stack that runs on `data_dir`, or None; a note whose launcher is dead counts for nothing."""
    folder = DataFolder(data_dir)
    note = read_private(folder.stack_file)
    if note is None:
        return None
    try:
        stack = RunningStack(
            url=note["url"],
            flower_url=note["flowerUrl"],
            redis_url=note["redisUrl"],
            mongodb_uri=note["mongodbUri"],
            data_dir=folder.path,
            key_file=Path(os.fsdecode(from_text(note["keyFile"]))),
            launcher=ProcessIdentity(pid=int(note["pid"]), start_time=str(note["pidStartTime"])),
            started_at=datetime.fromisoformat(note["startedAt"]),
            parts={str(name): int(pid) for name, pid in note["parts"].items()},
            music_roots=tuple(Path(os.fsdecode(from_text(root))) for root in note["musicRoots"]),
            is_temporary=bool(note["isTemporary"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return stack if stack.launcher.is_alive() else None
