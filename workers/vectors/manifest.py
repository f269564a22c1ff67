"""What a snapshot consists of, and whether it is whole: each file's hash, and the hash of that list in the name."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.vectors.arrays import Form
from workers.vectors.errors import SnapshotDamaged, SnapshotMissing, SnapshotOutdated
from workers.vectors.schema import Schema
from workers.vectors.space import SpaceForm

MANIFEST = "manifest.json"
# Goes up with every change of which files there are and what they mean, of how words are cut or vectors scaled.
VERSION = 2

_DIGEST_SHOWN = 32  # of the manifest's hash, in the snapshot's name


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All that is known of a snapshot."""

    schema: Schema
    # what can be found
    entries: int
    # places in the files, those of removed entries too
    rows: int
    spaces: Mapping[str, SpaceForm]
    arrays: Mapping[str, Form]
    # what the builder was told to keep: which model made the vectors, which release the entries are from
    provenance: Mapping[str, str]
    # name of a file -> its length in bytes and its SHA-256
    files: Mapping[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(length for length, _ in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """Return what stands in the file."""
        return {
            "version": VERSION,
            "schema": self.schema.to_json(),
            "entries": self.entries,
            "rows": self.rows,
            "spaces": {name: form.to_json() for name, form in self.spaces.items()},
            "arrays": {name: [form.dtype, form.shape] for name, form in self.arrays.items()},
            "provenance": dict(self.provenance),
            "files": self.files,
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Manifest":
        """Return the manifest that `to_json` wrote."""
        return cls(
            schema=Schema.from_json(known["schema"]),
            entries=known["entries"],
            rows=known["rows"],
            spaces={name: SpaceForm.from_json(form) for name, form in known["spaces"].items()},
            arrays={name: Form(dtype=dtype, shape=tuple(shape)) for name, (dtype, shape) in known["arrays"].items()},
            provenance=known["provenance"],
            files={name: (length, digest) for name, (length, digest) in known["files"].items()},
        )


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write the manifest beside its files and return the snapshot's name: when it was made, and the manifest's hash."""
    content = json.dumps(manifest.to_json(), indent=1).encode()
    (folder / MANIFEST).write_bytes(content)
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{_digest(content)}"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the snapshot in a folder of that name, and look at no other file.

    Raises:
        SnapshotMissing: if there is none of this name.
        SnapshotDamaged: if the manifest is not the one that the name speaks of.
        SnapshotOutdated: if another version of this code wrote it.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise _absence(folder, MANIFEST) from None
    if _digest(content) != folder.name.rpartition("-")[2]:
        raise SnapshotDamaged(f"The manifest of {folder.name} is not the one that was published.")
    known = json.loads(content)
    if known["version"] != VERSION:
        raise SnapshotOutdated(f"{folder.name} has the form {known['version']}, this code reads {VERSION}.")
    return Manifest.from_json(known)


def measured(folder: Path) -> dict[str, tuple[int, str]]:
    """Return length and SHA-256 of every file of a snapshot that is being built."""
    return {path.name: (path.stat().st_size, _digest_of(path)) for path in sorted(folder.iterdir())}


def check_files(folder: Path, manifest: Manifest) -> None:
    """Read every file and compare it with the manifest: nothing may be opened before, for what is damaged may crash.

    Raises:
        SnapshotMissing: if the whole snapshot was cleaned away meanwhile.
        SnapshotDamaged: naming the first file that is not what it was.
    """
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            found = (path.stat().st_size, "")
            if found[0] == expected[0]:
                found = (expected[0], _digest_of(path))
        except FileNotFoundError:
            raise _absence(folder, name) from None
        if found != expected:
            raise SnapshotDamaged(f"{name} of {folder.name} is not the file that was published.")


def sync(folder: Path) -> None:
    """Wait until every file of a folder, and the folder, are on the disk."""
    for path in (*sorted(folder.iterdir()), folder):
        sync_path(path)


def sync_path(path: Path) -> None:
    """Wait until one file, or the names in one folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _absence(folder: Path, name: str) -> SnapshotMissing | SnapshotDamaged:
    if folder.is_dir():
        return SnapshotDamaged(f"{name} of {folder.name} is not there.")
    return SnapshotMissing(f"There is no snapshot {folder.name}.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_SHOWN]


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
