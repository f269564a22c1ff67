"""A backup on the disk: a folder, or that folder as one tar file; and the journal of one that is not finished."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from deploy.backup.errors import BackupDamaged, BackupExists, BackupInUse
from deploy.backup.manifest import FORMAT, Beginning, KeptCollection, Manifest, Part
from deploy.backup.streams import sha256_of
from shared.errors import DatabaseTooNew
from shared.keys import OWNER_ONLY

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
JOURNAL = "journal.jsonl"
LOCK = "lock"
TAR = ".tar"
FOLDER_MODE = 0o700


def is_tar(path: Path) -> bool:
    """Whether a backup of this name is one file."""
    return path.suffix == TAR


def _write(path: Path, text: str) -> None:
    """Put a file there, whole or not at all."""
    draft = path.with_name(f".{path.name}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Draft:
    """A backup that is being taken: parts, and a journal of what is done, of which each line is on the disk."""

    def __init__(self, target: Path) -> None:
        """Name it; nothing is touched before `opened`."""
        self.target = target
        self.folder = target.with_name(f"{target.name}.parts") if is_tar(target) else target
        self.beginning: Beginning | None = None
        self.collections: list[KeptCollection] = []
        self.complete: set[tuple[str, str]] = set()

    @contextmanager
    def opened(self) -> Iterator[Draft]:
        """Take the folder for as long as the block lasts, and read what an earlier attempt has done.

        Raises:
            BackupExists: there is a finished backup, or something else.
            BackupInUse: another process is at it.
        """
        if is_tar(self.target) and self.target.exists():
            raise BackupExists(f"{self.target} exists.")
        if self.folder.exists() and not self.folder.is_dir():
            raise BackupExists(f"{self.folder} is a file; only one whose name ends in {TAR} can be one.")
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with ExitStack() as cleanup:
            cleanup.enter_context(self._locked())
            self._look()
            self._read_journal()
            self._journal = cleanup.enter_context(open(self.folder / JOURNAL, "a", encoding="utf-8"))
            yield self

    def _locked(self) -> AbstractContextManager[IO[str]]:
        if not (self.folder / LOCK).exists() and any(self.folder.iterdir()):
            raise BackupExists(f"{self.folder} holds something already.")
        file = open(self.folder / LOCK, "w")  # noqa: SIM115 - it is returned
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BackupInUse(f"Somebody is writing {self.target}.") from None
        return file

    def _look(self) -> None:
        if (self.folder / MANIFEST).exists() and not (self.folder / JOURNAL).exists():
            raise BackupExists(f"{self.folder} holds a finished backup.")

    def _read_journal(self) -> None:
        path = self.folder / JOURNAL
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._take(json.loads(line))
        if len(whole) < len(data):  # the end of a line that was being written
            os.truncate(path, len(whole))

    def _take(self, entry: dict[str, Any]) -> None:
        if "begin" in entry:
            self.beginning = Beginning.from_document(entry["begin"])
        elif "collection" in entry:
            self.collections.append(KeptCollection.from_document(entry["collection"]))
        elif "part" in entry:
            last = self.collections[-1]
            parts = (*last.parts, Part.from_document(entry["part"]))
            self.collections[-1] = last.model_copy(update={"parts": parts})
        elif "complete" in entry:
            self.complete.add((self.collections[-1].owner, self.collections[-1].name))

    def note(self, what: str, record: Beginning | KeptCollection | Part | None = None) -> None:
        """Note that something is done; it is on the disk when this returns."""
        entry = {what: True if record is None else record.to_json()}
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._take(entry)

    def finish(self, manifest: Manifest) -> None:
        """Make it a finished backup: manifest, sums, and for a tar file all of it as one."""
        _write(self.folder / MANIFEST, json.dumps(manifest.to_json(), indent=1) + "\n")
        names = [part.file for one in manifest.collections for part in one.parts]
        sums = {part.file: part.sha256 for one in manifest.collections for part in one.parts}
        for name in (MANIFEST, *([manifest.key_file] if manifest.key_file else [])):
            with open(self.folder / name, "rb") as file:
                sums[name] = sha256_of(file)
            names.append(name)
        _write(self.folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in names))
        if is_tar(self.target):
            self._pack([SUMS, MANIFEST, *(name for name in names if name != MANIFEST)])
        else:
            (self.folder / JOURNAL).unlink()
            (self.folder / LOCK).unlink()

    def _pack(self, names: list[str]) -> None:
        draft = self.target.with_name(f".{self.target.name}")
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in names:
                tar.add(self.folder / name, arcname=name, recursive=False)
        draft.chmod(OWNER_ONLY)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.replace(self.target)
        shutil.rmtree(self.folder)


class Archive:
    """A finished backup that is read."""

    def __init__(self, path: Path) -> None:
        """Name it."""
        self._path = path
        self._tar: tarfile.TarFile | None = None
        self._checked: Manifest | None = None

    @contextmanager
    def opened(self) -> Iterator[Archive]:
        """Open it for as long as the block lasts. Raises `BackupDamaged`."""
        with ExitStack() as cleanup:
            if not self._path.is_dir():
                try:
                    self._tar = cleanup.enter_context(tarfile.open(self._path, "r:"))
                except (OSError, tarfile.TarError) as error:
                    raise BackupDamaged(f"{self._path} is no backup: {error}.") from None
            yield self

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file of it. Raises `BackupDamaged` where it is not there."""
        try:
            found = self._tar.extractfile(name) if self._tar else open(self._path / name, "rb")  # noqa: SIM115
        except (OSError, KeyError):
            found = None
        if found is None:
            raise BackupDamaged(f"{self._path} lacks {name}.")
        with found:
            yield found

    def manifest(self) -> Manifest:
        """Return what it says of itself.

        Raises:
            BackupDamaged: it says nothing that can be understood; it may not be finished.
            DatabaseTooNew: a later version made it, in a form that this one does not know.
        """
        with self.file(MANIFEST) as file:
            text = file.read()
        try:
            read = json.loads(text)
            if int(read["format"]) > FORMAT:
                raise DatabaseTooNew(f"{self._path} was made by a later version of Backline ({read['version']}).")
            return Manifest.from_document(read)
        except (KeyError, TypeError, ValueError, ValidationError):
            raise BackupDamaged(f"The {MANIFEST} of {self._path} can't be understood.") from None

    def check(self) -> Manifest:
        """Read every byte, once, and compare it with the sums; return the manifest. Raises `BackupDamaged`."""
        if self._checked is None:
            self._checked = self._compared()
        return self._checked

    def _compared(self) -> Manifest:
        manifest = self.manifest()
        sums = self._sums()
        expected = {part.file: part.sha256 for one in manifest.collections for part in one.parts}
        if manifest.key_file is not None:
            expected[manifest.key_file] = sums.get(manifest.key_file, "")
        for name, sum_ in {MANIFEST: sums.get(MANIFEST, ""), **expected}.items():
            with self.file(name) as file:
                if sha256_of(file) != sum_:
                    raise BackupDamaged(f"{name} in {self._path} is not what was written.")
        return manifest

    def _sums(self) -> dict[str, str]:
        with self.file(SUMS) as file:
            lines = file.read().decode(errors="replace").splitlines()
        return {name: sum_ for sum_, _, name in (line.partition("  ") for line in lines)}
