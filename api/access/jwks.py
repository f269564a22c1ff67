"""The public keys that an issuer publishes (RFC 7517), and which of them may have signed what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

KEY_TYPES: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Every algorithm that may be accepted, with the type and the curve of its keys (RFC 7518, RFC 8037).

All are asymmetric: where a public key could serve as the secret of an HMAC, whoever reads it could sign.
"""

RSA_BITS = range(2048, 8192 + 1)
"""Shorter keys can be broken (NIST SP 800-131A), longer ones make each check cost milliseconds."""


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A key that tokens are checked with."""

    kid: str | None
    algorithms: frozenset[str]  # allowed by the settings, by its type and curve, and by its own `alg`
    key: AllowedPublicKeys


class KeySet:
    """The keys of an issuer, as they were seen at one time."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = tuple(keys)

    def candidates(self, *, kid: str | None, algorithm: str) -> list[PublicKey]:
        """Return the keys that may have made a signature; without a `kid`, all that the algorithm suits."""
        return [key for key in self._keys if algorithm in key.algorithms and kid in (None, key.kid)]


def key_set(document: Mapping[str, Any], algorithms: Collection[str]) -> KeySet:
    """Return those keys of a JWK set that can check one of the algorithms; others are passed over (RFC 7517, 5).

    Raises `ValueError` where the document is no JWK set.
    """
    jwks = document.get("keys")
    if not isinstance(jwks, list):
        raise ValueError("it is no JWK set")
    found = (_public_key(jwk, algorithms) for jwk in jwks if isinstance(jwk, dict))
    return KeySet(key for key in found if key is not None)


def _public_key(jwk: Mapping[str, Any], accepted: Collection[str]) -> PublicKey | None:
    """Return the key, or None where it is for something else, not understood, or too weak."""
    algorithms = frozenset(name for name in accepted if _suits(jwk, name))
    # A private key that is published is no secret any more, so nothing that it signs is believed.
    if not algorithms or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    try:
        if "verify" not in jwk.get("key_ops", ("verify",)):
            return None
        key = PyJWK(dict(jwk), next(iter(algorithms))).key
    except (PyJWTError, TypeError, ValueError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size not in RSA_BITS:
        return None
    kid = jwk.get("kid")
    return PublicKey(kid=kid if isinstance(kid, str) else None, algorithms=algorithms, key=key)


def _suits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    kty, curve = KEY_TYPES[algorithm]
    return jwk.get("kty") == kty and curve in (None, jwk.get("crv")) and jwk.get("alg", algorithm) == algorithm
