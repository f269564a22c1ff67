"""Checks on documents as they are stored: their size, and secrets anywhere in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from shared.findings import Severity
from shared.keys import PREFIX
from shared.model import Json
from workers.database.checks.check import Check, Scene
from workers.database.values import decoded

LARGE_BYTES = 1_000_000
REDACTED = "[redacted]"

SECRETS: Sequence[tuple[str, bytes, str]] = (
    (
        "a private key",
        b"-----BEGIN ",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    ),
    ("a key of ours", f"{PREFIX}_".encode(), rf"{PREFIX}_[a-z2-7]{{10}}_[A-Za-z0-9_-]{{43}}"),
    ("an AWS access key", b"AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
    ("a GitHub token", b"ghp_", r"\bghp_[A-Za-z0-9]{36}\b"),
    ("a Slack token", b"xox", r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    ("a JSON web token", b"eyJ", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    ("a password in an address", b"://", r"[a-z][a-z0-9+.-]{1,20}://[^/\s:@]{0,64}:[^/\s:@]{3,128}@[\w.-]+"),
)
"""What it is, bytes without which it can't be there, and its pattern."""

_PATTERNS = [(name, marker, re.compile(pattern)) for name, marker, pattern in SECRETS]
_BYTES = [(marker, re.compile(pattern.encode())) for _, marker, pattern in SECRETS]


class BytesCheck(Check):
    """Looks at the bytes of each document, of whatever form."""

    def cures(self, scene: Scene) -> bool:
        """Whether the collection is not ours: a job whose request lost its password would fail, for instance."""
        return self.repair is not None and not scene.is_ours

    def may_be_in(self, batch: bytes) -> bool:
        """Whether any of many documents, one behind the other, may fail: a quick look."""
        raise NotImplementedError

    def faults(self, raw: bytes) -> Sequence[str]:
        """Return the fields in which a document fails."""
        raise NotImplementedError

    def cured(self, document: Json, scene: Scene) -> Json:
        """Return a failing document as it should be. Called only where `repair` is set."""
        raise NotImplementedError


class SecretInDocument(BytesCheck):
    """Text that opens a door: a private key, a token, a password in an address."""

    id = "secret_in_document"
    title = "Secret in a document"
    group = "security"
    severity = Severity.HIGH
    why = "Whoever may read the document, a backup or an export of it can use the secret."
    repair = f"The secret becomes {REDACTED!r}, but not in an id; the undo log keeps the document until it is deleted."
    advice = "Revoke the secret where it was given out: it must be taken for known."

    def may_be_in(self, batch: bytes) -> bool:
        """Whether the bytes hold what no secret is without."""
        return any(marker in batch and pattern.search(batch) for marker, pattern in _BYTES)

    def faults(self, raw: bytes) -> Sequence[str]:
        """Return the names of the fields, never their contents."""
        return list(dict.fromkeys(path.partition(".")[0] for path, text in texts(decoded(raw)) if secrets_in(text)))

    def cured(self, document: Json, scene: Scene) -> Json:
        """Take them out of the text that they stand in, names of fields included; an id stays what it is."""
        return {**_redacted({**document, "_id": None}), "_id": document["_id"]}


class LargeDocument(BytesCheck):
    """A document of more than a megabyte."""

    id = "large_document"
    title = "Large document"
    group = "performance"
    severity = Severity.LOW
    why = "It is read and sent as a whole whenever any part of it is wanted; at 16 MB the server refuses it."
    advice = "Keep long lists and files in documents of their own, or in GridFS."

    def may_be_in(self, batch: bytes) -> bool:
        """Whether the batch is large enough."""
        return len(batch) > LARGE_BYTES

    def faults(self, raw: bytes) -> Sequence[str]:
        """Return a word for the whole of a large document."""
        return ("(whole document)",) if len(raw) > LARGE_BYTES else ()


def secrets_in(text: str) -> list[str]:
    """Return what kinds of secrets stand in a text."""
    return [name for name, marker, pattern in _PATTERNS if marker.decode() in text and pattern.search(text)]


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a value, however deep, names of fields too, with the names that lead to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            place = f"{path}.{name}" if path else name
            yield place, name
            yield from texts(part, place)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, path)


def without_secrets(text: str) -> str:
    """Return a text with its secrets taken out."""
    for _, _, pattern in _PATTERNS:
        text = pattern.sub(REDACTED, text)
    return text


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return _with_names_redacted({name: _redacted(part) for name, part in value.items()})
    return [_redacted(part) for part in value] if isinstance(value, list) else value


def _with_names_redacted(document: Json) -> Json:
    found: Json = {}
    for name, value in document.items():
        clean = without_secrets(name)
        while clean in found or (clean != name and clean in document):
            clean += "_"
        found[clean] = value
    return found
