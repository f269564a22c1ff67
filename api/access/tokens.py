"""Access tokens of an OpenID Connect issuer: signed JWTs, checked by RFC 9068 and the advice of RFC 8725."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic, time
from typing import Any

import jwt
from jwt.types import Options

from api.access.claims import check_use, principal
from api.access.issuer import Issuer, checked_address
from api.access.jwks import KEY_TYPES, KeySet
from shared.access import Principal
from shared.errors import NotAuthenticated, WrongSetting
from shared.model import Json
from shared.settings import Settings

TOKEN_CHARACTERS_MAX = 16 * 1024
LEEWAY_SECONDS_MAX = 300.0  # "no more than a few minutes": RFC 7519, 4.1.4
VERIFIED_MAX = 2048
"""Tokens that are remembered as verified, 0.7 KB each: a check costs 0.13 to 0.18 ms, a memory of it 0.008."""
TIME_MAX = 2**53  # seconds that a float still tells apart; an issuer may write any number

COMPACT_PATTERN = r"[\w-]+\.[\w-]+\.[\w-]+"
"""Three parts of base64url without padding (RFC 7515, 3.1): one spelling per token."""
TYPES = frozenset({"jwt", "at+jwt"})
"""What a token's `typ` may say: not the logout tokens, events and proofs of the same issuer (RFC 8725, 3.11)."""
OPTIONS: Options = {"require": ["exp", "iat", "iss", "aud", "sub"], "enforce_minimum_key_length": True}

REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet: its 'nbf' or 'iat' lies in the future.",
    jwt.InvalidAudienceError: "The token was issued for another audience.",
    jwt.InvalidIssuerError: "The token was issued by another issuer.",
    jwt.InvalidSignatureError: "The token's signature is wrong.",
}
"""What is wrong with a token, in words that quote nothing of it."""


class _KeyUnknown(NotAuthenticated):
    """The token is signed with none of the keys that are known; the issuer may have newer ones."""


@dataclass(frozen=True, kw_only=True)
class _Header:
    algorithm: str
    kid: str | None
    is_access_token: bool  # by its type, which no other token may bear (RFC 9068)


@dataclass(frozen=True, kw_only=True)
class _Verified:
    principal: Principal
    until: float  # seconds since the epoch


class TokenVerifier:
    """The access tokens of one issuer, for this audience."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = monotonic) -> None:
        """Read what is accepted; `clock` measures how old the issuer's keys are. Raises `WrongSetting`."""
        self._issuer = Issuer(_issuer_of(settings), _algorithms_of(settings), clock=clock)
        self._audience = _audience_of(settings)
        self._algorithms = _algorithms_of(settings)
        self._leeway_seconds = _leeway_of(settings)
        self._scope_claim = settings.oidc_scope_claim or "scope"
        self._owner_claim = settings.oidc_owner_claim
        self._verified: dict[bytes, _Verified] = {}
        self._verified_by: KeySet | None = None

    async def verify(self, token: str) -> Principal:
        """Return whom the token stands for.

        Raises `NotAuthenticated` with what is wrong with it, `ServiceUnavailable` while the issuer's keys can't be had.
        """
        header = self._header(token)
        keys = await self._issuer.keys()
        try:
            return self._principal(token, header, keys)
        except _KeyUnknown:
            keys = await self._issuer.newer_keys()
        return self._principal(token, header, keys)

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._issuer.close()

    def _header(self, token: str) -> _Header:
        """Read what must be known before the signature can be checked; all of it is the sender's word.

        Keys that a header brings or points to (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
        """
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise NotAuthenticated(f"The token is longer than {TOKEN_CHARACTERS_MAX} characters.")
        if not re.fullmatch(COMPACT_PATTERN, token, re.ASCII):
            raise NotAuthenticated("The token is no signed JWT, and no other kind can be checked here.")
        header = _decoded(token.partition(".")[0])
        if header.get("alg") not in self._algorithms:
            raise NotAuthenticated(f"The token is not signed with {' or '.join(self._algorithms)}.")
        if "crit" in header:
            raise NotAuthenticated("The token asks for an extension ('crit') that is not known here.")
        kid = header.get("kid")
        if not isinstance(kid, str | None):
            raise NotAuthenticated("The token's 'kid' is no text.")
        kind = str(header.get("typ", "JWT")).lower().removeprefix("application/")
        if kind not in TYPES:
            raise NotAuthenticated("The token is no access token: its 'typ' is that of another kind.")
        return _Header(algorithm=header["alg"], kid=kid, is_access_token=kind == "at+jwt")

    def _principal(self, token: str, header: _Header, keys: KeySet) -> Principal:
        """Return whom a token stands for that one of the keys has signed, or did when it was last asked."""
        if keys is not self._verified_by:
            self._verified, self._verified_by = {}, keys
        digest = sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and time() < known.until:
            return known.principal
        claims = self._claims(token, header, keys)
        check_use(claims, is_access_token=header.is_access_token)
        found = principal(claims, scope_claim=self._scope_claim, owner_claim=self._owner_claim)
        if len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        until = min(int(claims["exp"]), TIME_MAX) + self._leeway_seconds
        self._verified[digest] = _Verified(principal=found, until=until)
        return found

    def _claims(self, token: str, header: _Header, keys: KeySet) -> Json:
        """Return what the issuer says, once it is proved that it says so, to us, and now."""
        found = keys.candidates(kid=header.kid, algorithm=header.algorithm)
        if not found:
            raise _KeyUnknown(f"The token is signed with no key that the issuer {self._issuer.address} publishes.")
        if len(found) > 1:
            raise NotAuthenticated("The token does not say which of the issuer's keys it is signed with ('kid').")
        try:
            return jwt.decode(
                token,
                found[0].key,
                algorithms=[header.algorithm],
                options=OPTIONS,
                audience=self._audience,
                issuer=self._issuer.address,
                leeway=self._leeway_seconds,
            )
        except jwt.MissingRequiredClaimError as error:
            raise NotAuthenticated(f"The token has no {error.claim!r}.") from None
        except jwt.PyJWTError as error:
            reason = REASONS.get(type(error), "The token can't be read: it is not as a JWT is to be.")
            # Without a `kid`, a wrong signature is all that there is to see of a key that has been replaced.
            is_key = isinstance(error, jwt.InvalidSignatureError) and header.kid is None
            raise (_KeyUnknown if is_key else NotAuthenticated)(reason) from None


def _decoded(part: str) -> Mapping[str, Any]:
    """Return the JSON object in a part of a token."""
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotAuthenticated("The token can't be read: its header is no JSON object.")
    return value


def _issuer_of(settings: Settings) -> str:
    address = settings.oidc_issuer or ""
    try:
        checked_address(address)
    except ValueError as error:
        raise WrongSetting(f"BACKLINE_OIDC_ISSUER is wrong: {error}.") from None
    if "?" in address or "#" in address:
        raise WrongSetting("BACKLINE_OIDC_ISSUER is wrong: an issuer has neither '?' nor '#'.")
    return address


def _audience_of(settings: Settings) -> str:
    if not settings.oidc_audience:
        reason = "without it, tokens that the issuer made for other services would be let in"
        raise WrongSetting(f"BACKLINE_OIDC_AUDIENCE must be set beside BACKLINE_OIDC_ISSUER: {reason}.")
    return settings.oidc_audience


def _algorithms_of(settings: Settings) -> tuple[str, ...]:
    if not settings.oidc_algorithms or not set(settings.oidc_algorithms) <= KEY_TYPES.keys():
        raise WrongSetting(f"BACKLINE_OIDC_ALGORITHMS may name any of {', '.join(KEY_TYPES)}, and nothing else.")
    return settings.oidc_algorithms


def _leeway_of(settings: Settings) -> float:
    if settings.oidc_leeway_seconds > LEEWAY_SECONDS_MAX:
        raise WrongSetting(f"BACKLINE_OIDC_LEEWAY_SECONDS may be up to {LEEWAY_SECONDS_MAX:g}.")
    return settings.oidc_leeway_seconds
