"""Which model it is that lies in a folder."""

import hashlib
from pathlib import Path

from workers.models.runtime import digest_of


def digest_of_folder(folder: Path) -> str:
    """Return twelve hexadecimal digits of the hash of all files of a model, their names and their contents.

    What is hidden, and what people read, says nothing about vectors.
    """
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if path.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
            found.update(f"{name.as_posix()}\0{digest_of(path)}\0".encode())
    return found.hexdigest()[:12]
