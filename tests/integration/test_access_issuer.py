"""How an issuer's keys are had and kept: fetched once for all, renewed, and safe from what happens to the issuer."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.access import issuer as keys_of_issuer
from api.access.issuer import DOCUMENT_BYTES_MAX, FRESH_SECONDS, LOOK_INTERVAL_SECONDS, STALE_SECONDS_MAX
from api.access.tokens import TokenVerifier
from shared.errors import NotAuthenticated, ServiceUnavailable
from shared.settings import Settings
from tests.issuer import (
    AUDIENCE,
    DISCOVERY,
    Fault,
    Issuer,
    alters,
    answers,
    drips,
    floods,
    hangs,
    hangs_up,
    is_late,
    issuing,
    private_key,
    signing_key,
)
from tests.mcp_client import run
from tests.waiting import STEP_SECONDS

Steps = Callable[[TokenVerifier, "Clock"], Awaitable[None]]


class Clock:
    """A clock that a test turns on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer of this test alone."""
    with issuing() as running:
        yield running


@asynccontextmanager
async def verifying(issuer: Issuer, clock: Clock | None = None) -> AsyncIterator[TokenVerifier]:
    """A verifier for the length of the block."""
    settings = Settings(oidc_issuer=issuer.address, oidc_audience=AUDIENCE)
    verifier = TokenVerifier(settings, clock=clock or Clock())
    try:
        yield verifier
    finally:
        await verifier.close()


def drive(issuer: Issuer, steps: Steps) -> None:
    """Run a test's steps with a verifier, and a clock that it goes by."""

    async def driven() -> None:
        clock = Clock()
        async with verifying(issuer, clock) as verifier:
            await steps(verifier, clock)

    run(driven)


async def until(predicate: Callable[[], bool]) -> None:
    """Let the other tasks run until it is true."""
    async with asyncio.timeout(20):
        while not predicate():
            await asyncio.sleep(STEP_SECONDS)


async def is_refused(verifier: TokenVerifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except NotAuthenticated:
        return True
    return False


async def is_unavailable(verifier: TokenVerifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except ServiceUnavailable as error:
        return "secret" not in error.message
    return False


# How often the issuer is asked


def test_the_keys_are_fetched_once_and_again_when_ten_minutes_have_passed(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        assert issuer.looks == 0
        for subject in ("ada", "bob", "eve"):
            await verifier.verify(issuer.token(sub=subject))
        clock.now += FRESH_SECONDS
        await verifier.verify(issuer.token())
        assert (issuer.looks, issuer.requests["/jwks"]) == (1, 1)
        clock.now += 1
        await verifier.verify(issuer.token())
        assert (issuer.looks, issuer.requests["/jwks"]) == (2, 2)

    drive(issuer, steps)


def test_a_hundred_first_requests_share_one_look(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        bearers = [issuer.token(sub=f"user-{number}") for number in range(100)]
        everybody = await asyncio.gather(*(verifier.verify(token) for token in bearers))
        assert len({somebody.owner for somebody in everybody}) == 100
        assert (issuer.looks, issuer.requests["/jwks"]) == (1, 1)

    drive(issuer, steps)


def test_a_request_that_is_given_up_takes_the_look_from_nobody(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        issuer.faults["/jwks"] = is_late
        first = asyncio.create_task(verifier.verify(issuer.token()))
        second = asyncio.create_task(verifier.verify(issuer.token()))
        await until(lambda: issuer.requests["/jwks"] == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        issuer.released.set()
        await second
        assert (issuer.looks, issuer.requests["/jwks"]) == (1, 1)

    drive(issuer, steps)


def test_what_can_be_seen_to_be_junk_asks_the_issuer_for_nothing(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        for junk in ("junk", "a.b.c", issuer.token(headers={"crit": ["x"]}), issuer.token(more="x" * 20_000)):
            assert await is_refused(verifier, junk)
        assert issuer.looks == 0

    drive(issuer, steps)


def test_tokens_that_name_unknown_keys_have_the_issuer_asked_once_in_ten_seconds(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        strangers = [issuer.token(headers={"kid": f"unknown-{number}"}) for number in range(50)]
        for looks in (1, 2, 3):  # the first look is too recent for another
            refused = await asyncio.gather(*(is_refused(verifier, token) for token in strangers))
            assert all(refused)
            assert issuer.looks == looks
            clock.now += LOOK_INTERVAL_SECONDS
        await verifier.verify(issuer.token())
        assert issuer.looks == 3

    drive(issuer, steps)


def test_a_wrong_signature_under_a_known_key_is_no_reason_to_ask(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        clock.now += LOOK_INTERVAL_SECONDS
        assert await is_refused(verifier, signing_key("first", number=1).sign(issuer.claims()))
        assert issuer.looks == 1

    drive(issuer, steps)


# New keys


def test_a_new_key_is_known_as_soon_as_a_token_names_it(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        old = issuer.token()
        await verifier.verify(old)
        issuer.rotate(signing_key("second", number=1), keep_old=True)
        clock.now += LOOK_INTERVAL_SECONDS
        everybody = await asyncio.gather(*(verifier.verify(issuer.token(sub=f"user-{n}")) for n in range(50)))
        assert len(everybody) == 50
        assert issuer.looks == 2
        await verifier.verify(old)

    drive(issuer, steps)


def test_a_new_key_without_an_id_is_known_as_soon_as_it_has_signed(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        issuer.rotate(signing_key(None))
        await verifier.verify(issuer.token())
        issuer.rotate(signing_key(None, number=1))
        assert await is_refused(verifier, issuer.token())
        clock.now += LOOK_INTERVAL_SECONDS
        await verifier.verify(issuer.token())
        assert issuer.looks == 2

    drive(issuer, steps)


def test_a_key_that_is_withdrawn_serves_no_longer_not_even_tokens_that_were_verified(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        old = issuer.token()
        await verifier.verify(old)
        issuer.rotate(signing_key("second", number=1))
        await verifier.verify(old)
        clock.now += FRESH_SECONDS + 1
        assert await is_refused(verifier, old)
        issuer.published = []
        clock.now += FRESH_SECONDS + 1
        assert await is_refused(verifier, issuer.token())

    drive(issuer, steps)


# Outages


def test_known_keys_serve_while_the_issuer_is_down_and_are_renewed_when_it_is_back(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=keys_of_issuer.__name__)

    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        issuer.stop()
        for _ in range(5):
            clock.now += FRESH_SECONDS + 1
            await verifier.verify(issuer.token())
        assert await is_unavailable(verifier, issuer.token(headers={"kid": "perhaps new"}))
        assert caplog.text.count("does not give its keys") == 1
        old = issuer.token()
        issuer.rotate(signing_key("second", number=1))
        issuer.start()
        clock.now += LOOK_INTERVAL_SECONDS
        await verifier.verify(issuer.token())
        assert await is_refused(verifier, old)
        assert caplog.text.count("gives its keys again") == 1

    drive(issuer, steps)


def test_keys_that_nobody_has_confirmed_for_a_day_are_believed_no_more(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        issuer.stop()
        clock.now += STALE_SECONDS_MAX
        await verifier.verify(issuer.token())
        clock.now += 1
        assert await is_unavailable(verifier, issuer.token())
        issuer.start()
        clock.now += LOOK_INTERVAL_SECONDS
        await verifier.verify(issuer.token())

    drive(issuer, steps)


def test_an_issuer_that_was_never_reached_is_not_asked_for_each_request(issuer: Issuer) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        issuer.faults[""] = answers(503, b"")
        for looks in (1, 2):
            unavailable = await asyncio.gather(*(is_unavailable(verifier, issuer.token()) for _ in range(20)))
            assert all(unavailable)
            assert await is_unavailable(verifier, issuer.token())
            assert issuer.looks == looks
            clock.now += LOOK_INTERVAL_SECONDS
        issuer.faults.clear()
        await verifier.verify(issuer.token())

    drive(issuer, steps)


def test_nobody_waits_for_an_issuer_that_is_known_to_hang(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        issuer.faults[""] = hangs
        monkeypatch.setattr(keys_of_issuer, "LOOK_SECONDS_MAX", 0.2)
        clock.now += FRESH_SECONDS + 1
        await verifier.verify(issuer.token())  # waits until the look is given up
        monkeypatch.setattr(keys_of_issuer, "LOOK_SECONDS_MAX", 3600.0)
        clock.now += LOOK_INTERVAL_SECONDS
        await verifier.verify(issuer.token())
        await until(lambda: issuer.looks == 3)
        await verifier.verify(issuer.token())  # while that look goes on; closing gives it up

    drive(issuer, steps)


GARBAGE: dict[str, Fault] = {
    "error": alters(500),
    "not found": alters(404),
    "no content": alters(206),
    "no JSON": answers(200, b"<html>"),
    "no text": answers(200, b"\xff\xfe\xfd"),
    "empty": answers(200, b""),
    "list": answers(200, b"[]"),
    "empty object": answers(200, b"{}"),
    "nested": answers(200, b"[" * 100_000),
    "compressed": alters(200, gzip.compress, **{"Content-Encoding": "gzip"}),
    "too long": alters(200, lambda body: body + b" " * DOCUMENT_BYTES_MAX),
    "elsewhere": answers(302, b"", Location="/elsewhere"),
    "broken off": hangs_up,
    "without end": floods,
    "byte by byte": drips,
    "silent": hangs,
}


@pytest.mark.parametrize("path", [DISCOVERY, "/jwks"])
@pytest.mark.parametrize("fault", GARBAGE)
def test_whatever_an_issuer_answers_costs_no_more_than_a_refusal(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, fault: str
) -> None:
    async def steps(verifier: TokenVerifier, clock: Clock) -> None:
        # What goes on without end is given up soon here; the others answer, or break off, long before.
        monkeypatch.setattr(keys_of_issuer, "LOOK_SECONDS_MAX", 0.3 if GARBAGE[fault] in (drips, hangs) else 30.0)
        issuer.faults[path] = GARBAGE[fault]
        assert await is_unavailable(verifier, issuer.token(more="secret"))
        assert issuer.requests["/elsewhere"] == 0
        assert [record.message.partition(": ")[0] for record in caplog.records] == [
            f"the issuer {issuer.address} does not give its keys"
        ]
        issuer.faults.clear()
        clock.now += LOOK_INTERVAL_SECONDS
        monkeypatch.setattr(keys_of_issuer, "LOOK_SECONDS_MAX", 30.0)
        await verifier.verify(issuer.token())
        issuer.faults[path] = GARBAGE[fault]
        monkeypatch.setattr(keys_of_issuer, "LOOK_SECONDS_MAX", 0.3)
        clock.now += FRESH_SECONDS + 1
        await verifier.verify(issuer.token())

    drive(issuer, steps)


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": None},
        {"issuer": "https://other.example"},
        {"issuer": "http://127.0.0.1/"},
        {"issuer": ["http://127.0.0.1"]},
        {"jwks_uri": None},
        {"jwks_uri": ""},
        {"jwks_uri": 5},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://jwks.example/jwks"},
        {"jwks_uri": "http://127.0.0.1:0/jwks"},
        {"jwks_uri": "http://127.0.0.1:99999/jwks"},
        {"jwks_uri": "http://[::1/jwks"},
        {"jwks_uri": "http://somebody:secret@127.0.0.1/jwks"},
        {"jwks_uri": "http://127.0.0.1/jwks\r\nX-Secret: 1"},
        {"jwks_uri": "https://127.0.0.1/jwks"},
        {"jwks_uri": "http:///jwks"},
    ],
    ids=str,
)
def test_a_discovery_document_must_be_the_issuers_own_and_lead_to_a_safe_place(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, discovery: dict[str, Any]
) -> None:
    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        issuer.discovery = discovery
        assert await is_unavailable(verifier, issuer.token())
        assert f"the issuer {issuer.address} does not give its keys" in caplog.text
        assert issuer.requests["/jwks"] == 0

    drive(issuer, steps)


@pytest.mark.parametrize("keys", [None, 5, {}, "keys"])
def test_keys_that_are_no_list_are_no_keys(issuer: Issuer, keys: Any) -> None:
    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        issuer.published = keys
        assert await is_unavailable(verifier, issuer.token())

    drive(issuer, steps)


# Encrypted connections


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine that nobody but itself has signed, with its key."""
    private = private_key("ES256")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(signed.public_bytes(Encoding.PEM) + key)
    return path


@pytest.mark.parametrize("is_trusted", [True, False])
def test_an_issuer_is_believed_only_if_its_certificate_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        assert await is_unavailable(verifier, secure.token()) is not is_trusted

    with issuing(tls=context) as secure:
        drive(secure, steps)


@pytest.mark.parametrize("address", ["{plain}/jwks", "https://999.1.1.1/jwks"])
def test_an_encrypted_issuer_leads_nobody_to_keys_that_are_not(
    issuer: Issuer, certificate: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def steps(verifier: TokenVerifier, _: Clock) -> None:
        secure.discovery = {"jwks_uri": address.format(plain=issuer.origin)}
        assert await is_unavailable(verifier, secure.token())
        assert issuer.requests["/jwks"] == 0

    with issuing(tls=context) as secure:
        drive(secure, steps)
