"""What the claims of a verified token mean here: what it may be used for, and whom it stands for."""

from __future__ import annotations

import base64
from hashlib import sha256

from shared.access import ISSUED_OWNER, Principal, Scope, checked_owner, known_scopes
from shared.errors import InvalidRequest, NotAuthenticated
from shared.model import Json

ACTOR_PREFIX = "oidc:"
SUBJECT_BYTES_MAX = 255  # OpenID Connect Core 1.0, section 2

ACCESS_USES = frozenset({"access", "bearer", "at+jwt"})
"""What access tokens say of their use where the issuer says it: Cognito's `token_use`, Keycloak's `typ` claim."""
ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})
"""Claims for the client that a user logs in at, which an access token has no reader for (OpenID Connect Core 1.0)."""


def check_use(claims: Json, *, is_access_token: bool) -> None:
    """Refuse what the issuer signs for others: above all ID tokens, which many more parties get to see.

    `is_access_token` says that it bears the type that no other token may (RFC 9068, 2.1). Raises `NotAuthenticated`.
    """
    if "cnf" in claims:  # who has stolen such a token could use it where nobody asks for the proof (RFC 9449, 7.2)
        raise NotAuthenticated("The token is bound to a key of its holder ('cnf'), whose proof is not asked for here.")
    use = claims.get("token_use", claims.get("typ"))
    said = str(use).lower() in ACCESS_USES if use is not None else not ID_TOKEN_CLAIMS & claims.keys()
    if not (is_access_token or said):
        raise NotAuthenticated("The token is no access token: send the access token, not the ID token.")


def principal(claims: Json, *, scope_claim: str, owner_claim: str | None) -> Principal:
    """Return whom the claims stand for; `iss` and `sub` are there and are texts. Raises `NotAuthenticated`."""
    subject = claims["sub"]
    if not 0 < len(subject.encode(errors="surrogatepass")) <= SUBJECT_BYTES_MAX:
        raise NotAuthenticated(f"The token's 'sub' is empty or longer than {SUBJECT_BYTES_MAX} bytes.")
    return Principal(
        owner=_named_owner(claims, owner_claim) if owner_claim else subject_owner(claims["iss"], subject),
        scopes=_scopes(claims, scope_claim),
        # Printable ASCII, whatever the issuer lets its users be called: no line, page or store is broken by it.
        actor=ACTOR_PREFIX + subject.encode("unicode_escape").decode(),
    )


def subject_owner(issuer: str, subject: str) -> str:
    """Return the owner that stands for a subject of an issuer: always the same, and nobody else's.

    26 characters of base32 are 130 bits of a SHA-256, so that no second subject can be found that has the same.
    """
    digest = sha256(f"{issuer}\0{subject}".encode(errors="surrogatepass")).digest()
    return ISSUED_OWNER + base64.b32encode(digest)[:26].decode().lower()


def _named_owner(claims: Json, claim: str) -> str:
    name = claims.get(claim)
    where = f"The token's {claim!r}, which names the owner,"
    if not isinstance(name, str):
        raise NotAuthenticated(f"{where} is missing or no text.")
    if name.startswith(ISSUED_OWNER):
        raise NotAuthenticated(f"{where} begins with {ISSUED_OWNER!r}, as only owners without a name do.")
    try:
        return checked_owner(name)
    except InvalidRequest as error:
        raise NotAuthenticated(f"{where} {error.fields[0][1]}.") from None


def _scopes(claims: Json, claim: str) -> frozenset[Scope]:
    names = claims.get(claim)
    if names is None and claim == "scope":
        # Entra ID's and Okta's name for it. Whoever chose another claim did so because these are not to count.
        names = claims.get("scp")
    if isinstance(names, str):
        names = names.split(" ")
    return known_scopes(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
