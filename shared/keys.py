"""API keys as text: made, taken apart, and turned into what may be stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import WrongSetting

PREFIX = "backline"
"""What each key begins with, so that scanners for leaked secrets and people know one when they see it."""
SECRET_BYTES = 32
KEY_FILE = "api.key"
"""Where the key of a stack lies in its data folder."""
TOKEN_KEY_FILE = "tokens.key"  # noqa: S105
"""Where the secret lies in it under which users' tokens are encrypted; of the same form, and opens no door."""
OWNER_ONLY = 0o600

_FORM = re.compile(rf"{PREFIX}_(?P<id>[a-z2-7]{{10}})_(?P<secret>[A-Za-z0-9_-]{{43}})")
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 10


@dataclass(frozen=True, kw_only=True)
class KeyText:
    """A key as its holder has it."""

    id: str  # names the key, and is no secret
    text: str = field(repr=False)  # the whole; shown once and never stored

    @property
    def digest(self) -> str:
        """What is stored in its place: a plain hash, for nobody can guess 256 random bits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fits(self, digest: str) -> bool:
        """Whether this is the key that `digest` was made of, in a time that tells nothing about it."""
        return hmac.compare_digest(self.digest, digest)


def new_key() -> KeyText:
    """Return a key that nobody has yet."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    return KeyText(id=key_id, text=f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}")


def parse_key(text: str) -> KeyText | None:
    """Return the key that a text is, or None where it has not the form of one."""
    found = _FORM.fullmatch(text)
    return KeyText(id=found["id"], text=text) if found else None


def read_key_file(path: Path) -> KeyText:
    """Return the key in a file. Raises `WrongSetting` where there is none that can be read."""
    try:
        text = path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise WrongSetting(f"The key file {path} can't be read: {reason}.") from None
    key = parse_key(text)
    if key is None:
        raise WrongSetting(f"The key file {path} holds no key; delete it, and it is made anew.")
    return key


def ensure_key_file(path: Path) -> KeyText:
    """Return the key in a file, which is made, readable by this user only, where there is none.

    Raises `WrongSetting` where it can be neither read nor made.
    """
    if path.exists():
        return read_key_file(path)
    key = new_key()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(draft, key.text)
        _publish(draft, path)
    except OSError as error:
        raise WrongSetting(f"The key file {path} can't be made: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
    return read_key_file(path)


def _publish(draft: Path, path: Path) -> None:
    """Give a file its name, whole or not at all; one that came first stays."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # some shares of a NAS know no hard links; there the last one of a race stays
        draft.replace(path)


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
