"""Tokens of a real issuer on loopback: which are taken for what, and which are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm, get_default_algorithms

from api.access import tokens
from api.access.tokens import TokenVerifier
from shared.access import Principal, Scope
from shared.errors import NotAuthenticated
from shared.settings import Settings
from tests.issuer import AUDIENCE, Issuer, SigningKey, base64url, issuing, signing_key
from tests.mcp_client import run
from tests.waiting import wait_until

Make = Callable[[Issuer], str]
STRANGER = signing_key("first", number=1)
"""Somebody else's key, under the id of the issuer's own."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An issuer that no test changes."""
    with issuing() as running:
        yield running


@pytest.fixture
def own() -> Iterator[Issuer]:
    """An issuer of this test alone."""
    with issuing() as running:
        yield running


def settings_for(issuer: Issuer, **changes: Any) -> Settings:
    return Settings(**{"oidc_issuer": issuer.address, "oidc_audience": AUDIENCE, **changes})


def verified(issuer: Issuer, *bearers: str, **changes: Any) -> list[Principal]:
    """Return whom tokens stand for, in the eyes of a verifier that has just started."""

    async def steps() -> list[Principal]:
        verifier = TokenVerifier(settings_for(issuer, **changes))
        try:
            return [await verifier.verify(token) for token in bearers]
        finally:
            await verifier.close()

    return run(steps)


def refusal(issuer: Issuer, token: str, **changes: Any) -> str:
    """Return why a token is refused, having checked that this tells nobody what is in it."""
    with pytest.raises(NotAuthenticated) as caught:
        verified(issuer, token, **changes)
    message = caught.value.message
    assert "secret" not in message.lower()
    assert not any(part in message for part in token.split(".") if len(part) > 1)
    return message


def header_of(issuer: Issuer, **headers: Any) -> str:
    """Return a token that is right but for its header."""
    return issuer.token(headers=headers)


def compact(issuer: Issuer, header: bytes, signature: bytes = b"s") -> str:
    """Return a token with any header at all."""
    return f"{base64url(header)}.{base64url(json.dumps(issuer.claims()).encode())}.{base64url(signature)}"


def hmac_by(secret: bytes) -> Make:
    """Return a token that is signed with what everybody knows as if it were a secret, under the key's own id."""

    def token(issuer: Issuer) -> str:
        signed = compact(issuer, b'{"alg": "HS256", "kid": "first", "typ": "JWT"}').rpartition(".")[0]
        return f"{signed}.{base64url(HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed.encode(), secret))}"

    return token


def public_pem(issuer: Issuer) -> bytes:
    return issuer.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# Forms, headers and signatures


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda _: "", "no signed JWT", id="nothing"),
        pytest.param(lambda _: "bl_0123456789abcdef", "no signed JWT", id="opaque"),
        pytest.param(lambda i: i.token().rpartition(".")[0], "no signed JWT", id="unsigned"),
        pytest.param(lambda i: i.token().rpartition(".")[0] + ".", "no signed JWT", id="empty signature"),
        pytest.param(lambda _: "ab.cd.ef.gh.ij", "no signed JWT", id="encrypted"),
        pytest.param(lambda i: i.token() + "==", "no signed JWT", id="padded"),
        pytest.param(lambda i: i.token() + "\n", "no signed JWT", id="newline"),
        pytest.param(lambda i: " " + i.token(), "no signed JWT", id="space"),
        pytest.param(lambda i: i.token(sub="ä") + "ä", "no signed JWT", id="beyond ASCII"),
        pytest.param(lambda i: i.token(more="x" * 16384), "longer than 16384", id="too long"),
        pytest.param(lambda i: compact(i, b"{"), "header is no JSON object", id="header no JSON"),
        pytest.param(lambda i: compact(i, b'["RS256"]'), "header is no JSON object", id="header a list"),
        pytest.param(lambda i: compact(i, b'{"alg": "\xff"}'), "header is no JSON object", id="header no UTF-8"),
        pytest.param(lambda i: compact(i, b"[" * 9000), "header is no JSON object", id="header nested"),
        pytest.param(lambda i: "a" + i.token(), "header is no JSON object", id="header no base64"),
        pytest.param(lambda i: compact(i, b'{"alg": "none"}'), "not signed with RS256 or ES256", id="none"),
        pytest.param(lambda i: compact(i, b'{"alg": "nOnE"}'), "not signed with", id="none in capitals"),
        pytest.param(lambda i: compact(i, b'{"kid": "first"}'), "not signed with", id="no algorithm"),
        pytest.param(lambda i: compact(i, b'{"alg": ["RS256"]}'), "not signed with", id="list of algorithms"),
        pytest.param(lambda i: hmac_by(public_pem(i))(i), "not signed with", id="HMAC with the public key"),
        pytest.param(
            lambda i: hmac_by(json.dumps(i.key.jwk()).encode())(i), "not signed with", id="HMAC with the key as JSON"
        ),
        pytest.param(
            lambda i: signing_key(algorithm="RS512").sign(i.claims()), "not signed with", id="algorithm not accepted"
        ),
        pytest.param(
            lambda i: signing_key(algorithm="ES256").sign(i.claims()), "with no key", id="algorithm of another key type"
        ),
        pytest.param(lambda i: STRANGER.sign(i.claims()), "signature is wrong", id="signed by a stranger"),
        pytest.param(
            lambda i: STRANGER.sign(i.claims(), jwk=STRANGER.jwk()), "signature is wrong", id="brings its own key"
        ),
        pytest.param(
            lambda i: STRANGER.sign(i.claims(), kid="secret", jwk=STRANGER.jwk(kid="secret")),
            "with no key",
            id="own id",
        ),
        pytest.param(lambda i: i.token()[:-42], "signature is wrong", id="signature cut short"),
        pytest.param(
            lambda i: i.token(sub="eve").rpartition(".")[0] + "." + i.token().rpartition(".")[2],
            "signature is wrong",
            id="signature of another token",
        ),
        pytest.param(lambda i: header_of(i, kid="secret-2"), "with no key", id="unknown key"),
        pytest.param(lambda i: header_of(i, kid="FIRST"), "with no key", id="key id in capitals"),
        pytest.param(lambda i: header_of(i, kid=1), "'kid' is no text", id="key id a number"),
        pytest.param(lambda i: header_of(i, kid=["first"]), "'kid' is no text", id="key id a list"),
        pytest.param(lambda i: header_of(i, crit=["secret"], secret=1), "'crit'", id="unknown extension"),
        pytest.param(lambda i: header_of(i, crit=["b64"], b64=False), "'crit'", id="unencoded payload"),
        pytest.param(lambda i: header_of(i, crit=[]), "'crit'", id="empty crit"),
        pytest.param(lambda i: header_of(i, b64=False), "can't be read", id="unencoded payload on the sly"),
        *[
            pytest.param(lambda i, kind=kind: header_of(i, typ=kind), "'typ' is that of another kind", id=f"typ {kind}")
            for kind in ("ID", "logout+jwt", "dpop+jwt", "application/secevent+jwt", "Refresh", "", 5, ["JWT"])
        ],
    ],
)
def test_a_token_is_refused_for_its_form_or_signature(issuer: Issuer, make: Make, reason: str) -> None:
    assert reason in refusal(issuer, make(issuer))


def test_no_key_is_fetched_from_where_a_token_says(issuer: Issuer) -> None:
    for name in ("jku", "x5u"):
        headers = {"kid": "elsewhere", name: f"{issuer.origin}/elsewhere"}
        assert "with no key" in refusal(issuer, STRANGER.sign(issuer.claims(), **headers))
        assert verified(issuer, issuer.token(headers={name: f"{issuer.origin}/elsewhere"}))
    assert issuer.requests["/elsewhere"] == 0


# Claims


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": None}, "no 'exp'"),
        ({"iat": None}, "no 'iat'"),
        ({"iss": None}, "no 'iss'"),
        ({"aud": None}, "no 'aud'"),
        ({"sub": None}, "no 'sub'"),
        ({"aud": []}, "no 'aud'"),
        ({"aud": "https://secret.example/mcp"}, "another audience"),
        ({"aud": AUDIENCE + "/"}, "another audience"),
        ({"aud": AUDIENCE.upper()}, "another audience"),
        ({"aud": ["https://secret.example", "a"]}, "another audience"),
        ({"aud": [AUDIENCE, 5]}, "another audience"),
        ({"aud": {AUDIENCE: True}}, "another audience"),
        ({"iss": "https://secret.example"}, "another issuer"),
        ({"iss": ["https://secret.example"]}, "another issuer"),
        ({"exp": 1}, "has expired"),
        ({"exp": True}, "has expired"),
        ({"exp": "secret"}, "can't be read"),
        ({"exp": float("nan")}, "can't be read"),
        ({"exp": float("inf")}, "can't be read"),
        ({"exp": []}, "can't be read"),
        ({"iat": 2**40}, "not valid yet"),
        ({"iat": "secret"}, "can't be read"),
        ({"nbf": 2**40}, "not valid yet"),
        ({"nbf": {}}, "can't be read"),
        ({"sub": 5}, "can't be read"),
        ({"sub": ""}, "'sub' is empty"),
        ({"sub": "s" * 256}, "longer than 255"),
        ({"sub": "ä" * 128}, "longer than 255"),
        ({"cnf": {"jkt": "secret"}}, "'cnf'"),
        ({"token_use": "id"}, "no access token"),
        ({"typ": "ID"}, "no access token"),
        ({"typ": "Refresh"}, "no access token"),
        ({"typ": ["Bearer"]}, "no access token"),
        ({"nonce": "secret"}, "no access token"),
        ({"at_hash": "secret"}, "no access token"),
        ({"c_hash": "secret"}, "no access token"),
    ],
    ids=str,
)
def test_a_token_is_refused_for_its_claims(issuer: Issuer, changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(issuer, issuer.token(**changes))


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b'"secret"', b"[" * 9000, b"\xff", b'{"exp": 1' + b"0" * 5000 + b"}"], ids=repr
)
def test_a_payload_that_is_no_claims_is_refused_although_it_is_signed(issuer: Issuer, payload: bytes) -> None:
    assert "can't be read" in refusal(issuer, issuer.key.sign(payload))


def test_the_issuer_is_compared_to_the_letter(issuer: Issuer) -> None:
    for other in (f"{issuer.address}/", issuer.address.upper(), issuer.address.replace("127.0.0.1", "localhost")):
        assert "another issuer" in refusal(issuer, issuer.token(iss=other))


@pytest.mark.parametrize("path", ["/", "/realms/music", "/realms/music/"])
def test_an_issuer_may_have_a_path_and_keeps_its_slash(path: str) -> None:
    with issuing(path) as issuer:
        assert verified(issuer, issuer.token())
        assert "another issuer" in refusal(issuer, issuer.token(iss=issuer.address.rstrip("/") + "/other"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": [AUDIENCE]},
        {"aud": ["https://other.example", AUDIENCE]},
        {"nbf": 0},
        {"exp": 2**33 + 0.5},
        {"exp": 10**400},
        {"sub": "s" * 255},
        {"token_use": "access"},
        {"typ": "Bearer"},
        {"typ": "Bearer", "nonce": "of Keycloak before 25"},
        {"jti": "a"},
    ],
    ids=str,
)
def test_these_tokens_are_let_in(issuer: Issuer, changes: dict[str, Any]) -> None:
    token = issuer.token(**changes)
    first, again = verified(issuer, token, token)
    assert first == again
    assert first.scopes == {Scope.JOBS_READ, Scope.JOBS_WRITE}


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "application/jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_access_tokens_bear_these_types(issuer: Issuer, kind: str | None) -> None:
    assert verified(issuer, header_of(issuer, typ=kind))


def test_a_token_of_the_type_of_access_tokens_is_one_whatever_else_it_holds(issuer: Issuer) -> None:
    assert verified(issuer, issuer.token(headers={"typ": "at+jwt"}, nonce="n", typ="ID"))


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer: Issuer) -> None:
    moment = issuer.claims()["iat"]
    late, soon = issuer.token(exp=moment - 20), issuer.token(nbf=moment + 20, iat=moment + 20)
    assert len(verified(issuer, late, soon)) == 2
    assert "has expired" in refusal(issuer, late, oidc_leeway_seconds=10)
    assert "not valid yet" in refusal(issuer, soon, oidc_leeway_seconds=10)


def test_whom_a_token_stands_for(issuer: Issuer) -> None:
    (somebody,) = verified(issuer, issuer.token(sub="ada", team="band", roles=["search"]))
    assert somebody.actor == "oidc:ada"
    assert somebody.owner.startswith("oidc-")
    assert verified(issuer, issuer.token(sub="ada"), oidc_scope_claim="")[0].scopes == somebody.scopes
    (named,) = verified(
        issuer,
        issuer.token(sub="ada", team="band", roles=["search"]),
        oidc_owner_claim="team",
        oidc_scope_claim="roles",
    )
    assert named == Principal(owner="band", scopes=frozenset({Scope.SEARCH}), actor="oidc:ada")
    assert "'team'" in refusal(issuer, issuer.token(), oidc_owner_claim="team")


# Keys


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
def test_any_asymmetric_algorithm_may_be_accepted(own: Issuer, algorithm: str) -> None:
    own.rotate(signing_key("k", algorithm))
    assert verified(own, own.token(), oidc_algorithms=(algorithm,))


def test_edwards_curves_may_be_accepted(own: Issuer) -> None:
    own.rotate(signing_key("k", "EdDSA"))
    assert verified(own, own.token(), oidc_algorithms=("EdDSA",))
    assert "not signed with" in refusal(own, own.token())


OFF_THE_CURVE = base64url(b"\1" * 32)


@pytest.mark.parametrize(
    "jwk",
    [
        *[
            pytest.param(signing_key().jwk(**changes), id=str(changes))
            for changes in (
                {"use": "enc"},
                {"key_ops": ["sign"]},
                {"key_ops": 5},
                {"alg": "RS512"},
                {"alg": "RSA-OAEP"},
                {"alg": ["RS256"]},
                {"kty": "oct", "k": "c2VjcmV0"},
                {"kty": "EC"},
                {"kty": None},
                {"n": None},
                {"n": 5},
                {"n": "AQAB"},
                {"e": "AA"},
                {"kid": None},
                {"kid": ["first"]},
                {"d": "AQAB"},
            )
        ],
        pytest.param(signing_key(bits=1024).jwk(), id="1024 bits"),
        pytest.param(signing_key(algorithm="ES384").jwk(alg=None), id="another curve"),
        pytest.param(signing_key(algorithm="ES256").jwk(x=OFF_THE_CURVE, y=OFF_THE_CURVE), id="no point of the curve"),
        pytest.param("first", id="text"),
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
    ],
)
def test_a_published_key_is_not_used_for_what_it_is_not_fit_for(own: Issuer, jwk: Any) -> None:
    own.published = [jwk]
    bearers = [own.token()] if not isinstance(jwk, dict) or jwk.get("kty") != "EC" else []
    bearers.append(signing_key(algorithm="ES256").sign(own.claims()))
    for token in bearers:
        assert "with no key" in refusal(own, token)
    own.published = [jwk, signing_key("second", number=1).jwk()]
    assert verified(own, signing_key("second", number=1).sign(own.claims()))


def test_a_short_key_is_not_used_although_it_signs_well(own: Issuer) -> None:
    own.rotate(signing_key("short", bits=1024))
    assert "with no key" in refusal(own, own.token())


def test_a_token_without_a_key_id_needs_a_single_key_that_suits(own: Issuer) -> None:
    token = own.token(headers={"kid": None})
    assert verified(own, token)
    own.published.append(signing_key("second", "ES256").jwk())
    assert verified(own, token)
    own.published.append(signing_key("third", number=1).jwk())
    assert "does not say which" in refusal(own, token)
    own.published[-1]["alg"] = "PS256"
    assert verified(own, token)


def test_a_private_key_that_is_published_is_not_believed(own: Issuer) -> None:
    own.published = [{**get_default_algorithms()["RS256"].to_jwk(own.key.private, as_dict=True), "kid": "first"}]
    own.published[0]["key_ops"] = ["sign", "verify"]
    assert "with no key" in refusal(own, own.token())


def test_a_key_without_an_id_serves_tokens_without_one(own: Issuer) -> None:
    own.rotate(signing_key(None))
    assert verified(own, own.token())
    assert "with no key" in refusal(own, own.token(headers={"kid": "first"}))


# Tampering


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> list[SigningKey]:
    """Keys that the issuer publishes beside its own: one for each way of signing."""
    more = [signing_key("curve", "ES256"), signing_key("edwards", "EdDSA")]
    issuer.published = [issuer.key.jwk(), *(key.jwk() for key in more)]
    return [issuer.key, *more]


@pytest.fixture(scope="module")
def lets_in(issuer: Issuer, keys: list[SigningKey]) -> Iterator[Callable[[str], bool]]:
    """Whether a token is let in; one verifier for all that are tried."""
    assert keys
    with asyncio.Runner() as runner:
        verifier = TokenVerifier(settings_for(issuer, oidc_algorithms=("RS256", "ES256", "EdDSA")))

        async def attempt(token: str) -> bool:
            try:
                return bool(await verifier.verify(token))
            except NotAuthenticated:
                return False

        yield lambda token: runner.run(attempt(token))
        runner.run(verifier.close())


@pytest.mark.parametrize("place", range(3), ids=["RS256", "ES256", "EdDSA"])
def test_no_bit_of_a_token_can_be_flipped(
    issuer: Issuer, keys: list[SigningKey], lets_in: Callable[[str], bool], place: int
) -> None:
    token = keys[place].sign(issuer.claims())
    assert lets_in(token)
    for index, character in enumerate(token):
        for bit in range(8):
            flipped = token[:index] + chr(ord(character) ^ 1 << bit) + token[index + 1 :]
            assert not lets_in(flipped), f"bit {bit} of character {index}"


@examples(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_other_text_passes_for_a_token(
    issuer: Issuer, keys: list[SigningKey], lets_in: Callable[[str], bool], data: st.DataObject
) -> None:
    token = data.draw(st.sampled_from(keys)).sign(issuer.claims(iat=0, exp=2**33))
    start, length = data.draw(st.integers(0, len(token))), data.draw(st.integers(0, 5))
    put_in = data.draw(st.text(st.sampled_from("ABab01-_.=+/ \n\0é"), max_size=5) | st.text(max_size=5))
    changed = token[:start] + put_in + token[start + length :]
    assert lets_in(changed) == (changed == token)


def test_a_signature_of_all_zeros_proves_nothing(
    issuer: Issuer, keys: list[SigningKey], lets_in: Callable[[str], bool]
) -> None:
    for key, length in zip(keys, (256, 64, 64), strict=True):
        signed = key.sign(issuer.claims()).rpartition(".")[0]
        for signature in (bytes(length), bytes(1), b"\xff" * length, bytes(length - 1) + b"\1"):
            assert not lets_in(f"{signed}.{base64url(signature)}")


# What is remembered


def test_a_token_that_was_verified_is_not_checked_again_until_others_have_come(
    own: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "VERIFIED_MAX", 2)
    first, second, third = (own.token(sub=name) for name in ("ada", "bob", "eve"))

    async def steps() -> None:
        verifier = TokenVerifier(settings_for(own))
        remembered = ref(await verifier.verify(first))
        assert await verifier.verify(first) is remembered()
        assert (await verifier.verify(second)).actor == "oidc:bob"
        assert remembered() is not None
        assert (await verifier.verify(third)).actor == "oidc:eve"
        assert remembered() is None
        assert (await verifier.verify(first)).actor == "oidc:ada"
        await verifier.close()

    run(steps)


def test_a_token_that_was_verified_expires_all_the_same(own: Issuer) -> None:
    with asyncio.Runner() as runner:
        verifier = TokenVerifier(settings_for(own, oidc_leeway_seconds=0))
        token = own.token(exp=own.claims()["iat"] + 2)
        runner.run(verifier.verify(token))

        def has_expired() -> bool:
            try:
                runner.run(verifier.verify(token))
            except NotAuthenticated as error:
                return "has expired" in error.message
            return False

        wait_until(has_expired, what="the token's end")
        runner.run(verifier.close())
