"""Settings that tokens can't be checked by, and what claims stand for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.claims import principal, subject_owner
from api.access.tokens import TokenVerifier
from shared.access import OWNER_PATTERN, Scope
from shared.errors import NotAuthenticated, WrongSetting
from shared.settings import Settings

ISSUER = "https://login.example/realms/music"
GOOD: dict[str, Any] = {"oidc_issuer": ISSUER, "oidc_audience": "https://backline.example/mcp"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"oidc_issuer": None}, "ISSUER"),
        ({"oidc_issuer": ""}, "ISSUER"),
        ({"oidc_issuer": "login.example"}, "ISSUER"),
        ({"oidc_issuer": "http://login.example"}, "ISSUER"),
        ({"oidc_issuer": "http://10.0.0.1"}, "ISSUER"),
        ({"oidc_issuer": "http://localhost.example"}, "ISSUER"),
        ({"oidc_issuer": "http://127.0.0.1@login.example"}, "ISSUER"),
        ({"oidc_issuer": "https://ada:secret@login.example"}, "ISSUER"),
        ({"oidc_issuer": "https://999.1.1.1"}, "ISSUER"),
        ({"oidc_issuer": "https://xn--a"}, "ISSUER"),
        ({"oidc_issuer": "ftp://login.example"}, "ISSUER"),
        ({"oidc_issuer": "https://"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example:x"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example:70000"}, "ISSUER"),
        ({"oidc_issuer": "https://[::1"}, "ISSUER"),
        ({"oidc_issuer": " https://login.example"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example\n"}, "ISSUER"),
        ({"oidc_issuer": "https://lögin.example"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example?tenant=1"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example#"}, "ISSUER"),
        ({"oidc_issuer": "https://login.example/" + "x" * 2000}, "ISSUER"),
        ({"oidc_audience": None}, "AUDIENCE"),
        ({"oidc_audience": ""}, "AUDIENCE"),
        ({"oidc_algorithms": ()}, "ALGORITHMS"),
        ({"oidc_algorithms": ("none",)}, "ALGORITHMS"),
        ({"oidc_algorithms": ("HS256",)}, "ALGORITHMS"),
        ({"oidc_algorithms": ("RS256", "HS512")}, "ALGORITHMS"),
        ({"oidc_algorithms": ("rs256",)}, "ALGORITHMS"),
        ({"oidc_algorithms": "RS256 ES256"}, "ALGORITHMS"),
        ({"oidc_leeway_seconds": 301}, "LEEWAY_SECONDS"),
        ({"oidc_leeway_seconds": float("inf")}, "LEEWAY_SECONDS"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongSetting, match=f"BACKLINE_OIDC_{name} "):
        TokenVerifier(Settings(**{**GOOD, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"oidc_issuer": "https://login.example/"},
        {"oidc_issuer": "https://login.example:8443/a/b"},
        {"oidc_issuer": "http://localhost:8080/realms/music"},
        {"oidc_issuer": "http://127.8.0.1"},
        {"oidc_issuer": "http://[::1]:8080"},
        {"oidc_audience": "api://backline"},
        {"oidc_algorithms": "EdDSA, PS512"},
        {"oidc_leeway_seconds": 0},
        {"oidc_scope_claim": ""},
    ],
    ids=str,
)
def test_settings_that_make_sense_are_taken(changes: dict[str, Any]) -> None:
    TokenVerifier(Settings(**{**GOOD, **changes}))


# Scopes


@pytest.mark.parametrize(
    ("claims", "scope_claim", "expected"),
    [
        ({"scope": "jobs:read search"}, "scope", (Scope.JOBS_READ, Scope.SEARCH)),
        ({"scope": ["jobs:read", "search"]}, "scope", (Scope.JOBS_READ, Scope.SEARCH)),
        ({"scope": "openid profile jobs:write offline_access"}, "scope", (Scope.JOBS_WRITE,)),
        ({"scope": "  admin  "}, "scope", (Scope.ADMIN,)),
        ({"scope": ["database", 5, None, ["admin"], "x"]}, "scope", (Scope.DATABASE,)),
        ({"scp": "jobs:read"}, "scope", (Scope.JOBS_READ,)),
        ({"scp": ["jobs:read"]}, "scope", (Scope.JOBS_READ,)),
        ({"scope": "search", "scp": "admin"}, "scope", (Scope.SEARCH,)),
        ({"permissions": ["search"], "scope": "admin", "scp": "admin"}, "permissions", (Scope.SEARCH,)),
        ({"scope": "admin", "scp": "admin"}, "permissions", ()),
        ({}, "scope", ()),
        ({"scope": ""}, "scope", ()),
        ({"scope": "", "scp": "admin"}, "scope", ()),
        ({"scope": "ADMIN Admin admin\u00a0search jobs:read,admin"}, "scope", ()),
        ({"scope": {"admin": True}}, "scope", ()),
        ({"scope": 5}, "scope", ()),
        ({"scope": True}, "scope", ()),
    ],
    ids=str,
)
def test_the_scopes_are_those_of_one_claim_that_are_known(
    claims: dict[str, Any], scope_claim: str, expected: tuple[Scope, ...]
) -> None:
    found = principal({"iss": ISSUER, "sub": "ada", **claims}, scope_claim=scope_claim, owner_claim=None)
    assert found.scopes == set(expected)


# Owners and actors


@pytest.mark.parametrize("name", ["ada", "local", "a", "band-7_b", "x" * 32])
def test_a_claim_may_name_the_owner(name: str) -> None:
    found = principal({"iss": ISSUER, "sub": "ada", "team": name}, scope_claim="scope", owner_claim="team")
    assert found.owner == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "missing or no text"),
        (5, "missing or no text"),
        (["ada"], "missing or no text"),
        ("", "must be 1 to 32"),
        ("Ada", "must be 1 to 32"),
        ("ada@secret.example", "must be 1 to 32"),
        ("-ada", "must be 1 to 32"),
        ("ada\n", "must be 1 to 32"),
        ("x" * 33, "must be 1 to 32"),
        ("../secret", "must be 1 to 32"),
        ("oidc-", "begins with 'oidc-'"),
        (subject_owner(ISSUER, "eve"), "begins with 'oidc-'"),
    ],
    ids=str,
)
def test_a_claim_that_names_no_owner_is_refused_without_being_quoted(name: Any, reason: str) -> None:
    claims = {"iss": ISSUER, "sub": "ada", "team": name}
    with pytest.raises(NotAuthenticated, match=reason) as caught:
        principal(claims, scope_claim="scope", owner_claim="team")
    assert "'team'" in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_subject_keeps_its_owner() -> None:
    assert subject_owner("https://login.example", "ada") == "oidc-367souaigsxscfqqngvuhpmcns"


@given(subject=st.text(min_size=1, max_size=60) | st.sampled_from(["\ud800", "a\0b", "\u202eevil", "line\r\nbreak"]))
def test_every_subject_is_an_owner_and_an_actor_of_its_own(subject: str) -> None:
    found = principal({"iss": ISSUER, "sub": subject}, scope_claim="scope", owner_claim=None)
    assert re.fullmatch(OWNER_PATTERN, found.owner)
    assert found.owner.startswith("oidc-")
    assert found.actor.isascii()
    assert found.actor.isprintable()
    assert found.actor.removeprefix("oidc:").encode().decode("unicode_escape") == subject
    others = [(ISSUER, subject + "a"), (ISSUER + "/", subject), (ISSUER + subject, ""), (f"{ISSUER}\0", subject)]
    assert found.owner not in {subject_owner(*other) for other in others}
