"""The stack's own key, which lies in a file beside its database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from deploy.backup.archive import Archive
from deploy.backup.errors import TargetNotEmpty
from deploy.backup.manifest import Manifest
from shared.keys import OWNER_ONLY


def restore_key(archive: Archive, manifest: Manifest, path: Path, *, force: bool) -> None:
    """Put the key of a backup where a stack looks for its own. Raises `TargetNotEmpty` where there is another."""
    if manifest.key_file is None:
        return
    with archive.file(manifest.key_file) as file:
        text = file.read()
    if path.exists():
        if path.read_bytes() == text:
            return
        if not force:
            raise TargetNotEmpty(f"{path} holds another key than the backup.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
