"""Secrets of users in the database: encrypted and authenticated, under a key that stands in the settings."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import BacklineError, ProviderNotSetUp
from shared.settings import Settings

PURPOSE = b"backline: tokens of users"
SECRET_LENGTH_MIN = 32
"""Characters: 128 bits where they are hexadecimal digits."""


class SealBroken(BacklineError):
    """What was encrypted can't be read: the key is another one, or somebody has changed it."""

    code = "seal_broken"
    advice = "Give API and workers the same BACKLINE_TOKEN_KEY, the one under which it was encrypted."


class Sealer:
    """Encrypts texts (Fernet: AES-128-CBC and HMAC-SHA256) under a key made of a secret by HKDF (RFC 5869)."""

    def __init__(self, secret: str) -> None:
        """Make the key."""
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, text: str) -> str:
        """Return what may be stored of a text."""
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """Return the text. Raises `SealBroken`."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealBroken("A user's tokens can't be read under the key that is set.") from None


def sealer_of(settings: Settings) -> Sealer:
    """Return what encrypts under the key of the settings. Raises `ProviderNotSetUp` where there is none."""
    secret = settings.token_key.get_secret_value() if settings.token_key else ""
    if len(secret) < SECRET_LENGTH_MIN:
        raise ProviderNotSetUp(f"There is no key of {SECRET_LENGTH_MIN} characters to keep users' tokens under.")
    return Sealer(secret)
