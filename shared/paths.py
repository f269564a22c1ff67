"""File names as text, and the folders that they must stay inside.

A file name is bytes. Where the bytes are UTF-8, the text is the path itself; where not, it is a
``file://`` URI with the odd bytes percent-encoded, so that every name survives JSON and BSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

SCHEME = "file://"


def to_text(path: bytes) -> str:
    """Return the text that stands for this absolute path."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return SCHEME + quote_from_bytes(path)


def from_text(text: str) -> bytes:
    """Return the path that a text stands for: a plain path or a ``file://`` URI."""
    if text.startswith(SCHEME):
        return unquote_to_bytes(text[len(SCHEME) :])
    return text.encode("utf-8", "surrogateescape")


def require_absolute(text: str) -> str:
    """Return a text that stands for an absolute path, unchanged. Raises `ValueError`."""
    path = from_text(text)
    if not path.startswith(b"/"):
        raise ValueError("must be an absolute path or a file:/// URI")
    if b"\0" in path:
        raise ValueError("must be an absolute path or a file:/// URI without a NUL byte")
    return text


def is_inside(path: bytes, roots: Iterable[Path]) -> bool:
    """Whether a real path (no symlink left in it) is one of the roots or lies below one."""
    for root in roots:
        real_root = os.path.realpath(os.fsencode(root))
        if path == real_root or path.startswith(real_root.rstrip(b"/") + b"/"):
            return True
    return False
