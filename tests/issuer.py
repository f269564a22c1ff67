"""A real OpenID Connect issuer on loopback: it publishes keys, signs tokens, and fails in every way it is told to."""

from __future__ import annotations

import json
import ssl
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import AllowedPrivateKeys, get_default_algorithms

from shared.clock import new_id
from shared.model import Json

AUDIENCE = "https://backline.example/mcp"
SUBJECT = "ada-1815"
DISCOVERY = "/.well-known/openid-configuration"
CURVES: Mapping[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}

Fault = Callable[["Handler"], None]
"""What happens to a request in place of its answer."""


@cache
def private_key(algorithm: str = "RS256", number: int = 0, *, bits: int = 2048) -> AllowedPrivateKeys:
    """Return one of any number of keys for an algorithm; the same again for the same number, as they take a while."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A key pair of the issuer's."""

    kid: str | None
    algorithm: str
    private: AllowedPrivateKeys

    def jwk(self, **changes: Any) -> Json:
        """Return the public half as it is published; a change to None leaves a member out."""
        numbers: Json = get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        members = {**numbers, "kid": self.kid, "alg": self.algorithm, "use": "sig", "key_ops": None, **changes}
        return {name: value for name, value in members.items() if value is not None}

    def sign(self, claims: Mapping[str, Any] | bytes, **headers: Any) -> str:
        """Return a token, put together by hand, so that it may say anything; a header that is None is left out."""
        header = _present({"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **headers})
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{base64url(json.dumps(header).encode())}.{base64url(payload)}"
        signature = get_default_algorithms()[self.algorithm].sign(signed.encode(), self.private)
        return f"{signed}.{base64url(signature)}"


def base64url(data: bytes) -> str:
    """Return bytes as they stand in a token."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def _present(members: Mapping[str, Any]) -> Json:
    return {name: value for name, value in members.items() if value is not None}


def signing_key(
    kid: str | None = "first", algorithm: str = "RS256", number: int = 0, *, bits: int = 2048
) -> SigningKey:
    """Return a key pair under an id."""
    return SigningKey(kid=kid, algorithm=algorithm, private=private_key(algorithm, number, bits=bits))


class Issuer:
    """The issuer; every test may change what it publishes, and how it answers."""

    def __init__(self, path: str = "", *, tls: ssl.SSLContext | None = None) -> None:
        """Take a port; `path` is what its address ends with, and `tls` what it shows whoever connects."""
        self.path = path
        self.key = signing_key()
        self.published: Any = [self.key.jwk()]  # the members of the JWK set
        self.discovery: Json = {}  # what the discovery document says otherwise; None is left out
        self.faults: dict[str, Fault] = {}  # by the path that is asked for; "" is every other path
        self.requests: Counter[str] = Counter()  # by path
        self.released = Event()  # lets go of what hangs
        self._tls = tls
        self._codes: dict[str, Json] = {}
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def origin(self) -> str:
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self._port}"

    @property
    def address(self) -> str:
        return self.origin + self.path

    @property
    def looks(self) -> int:
        """How often it was asked for its keys, from the discovery document on."""
        return self.requests[self.path.rstrip("/") + DISCOVERY]

    def start(self) -> None:
        """Answer requests, at the same address as before."""
        self.released.clear()
        self._server = server = _Server(("127.0.0.1", self._port), Handler)
        server.issuer = self
        self._port = server.server_address[1]
        if self._tls:
            # Each connection shakes hands in its own thread: one that fails must not end the listening.
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        Thread(target=server.serve_forever, args=(0.02,), name="issuer", daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, as an issuer does that is down."""
        self.released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def rotate(self, key: SigningKey, *, keep_old: bool = False) -> None:
        """Sign with a new key from now on."""
        self.published = [*(self.published if keep_old else ()), key.jwk()]
        self.key = key

    def claims(self, **changes: Any) -> Json:
        """Return what a token says that is good for an hour; a change to None leaves a claim out."""
        moment = int(time.time())
        good = {"iss": self.address, "aud": AUDIENCE, "sub": SUBJECT, "iat": moment, "exp": moment + 3600}
        return _present({**good, "scope": "jobs:read jobs:write", **changes})

    def token(self, *, headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return a token with these claims changed, signed with the present key."""
        return self.key.sign(self.claims(**changes), **(headers or {}))

    def document(self, path: str, query: Mapping[str, str], form: Mapping[str, str]) -> Json | str | None:
        """Return what there is at a path: a document, an address to go to, or nothing."""
        endpoints: Mapping[str, Callable[[], Json | str]] = {
            self.path.rstrip("/") + DISCOVERY: self._configuration,
            "/jwks": lambda: {"keys": self.published},
            "/register": lambda: {"client_id": new_id("client"), "redirect_uris": ["http://127.0.0.1:1/callback"]},
            "/authorize": lambda: self._authorize(query),
            "/token": lambda: self._redeem(form),
        }
        return endpoints[path]() if path in endpoints else None

    def _configuration(self) -> Json:
        addresses = {
            name: f"{self.origin}/{path}"
            for name, path in {
                "authorization_endpoint": "authorize",
                "token_endpoint": "token",
                "registration_endpoint": "register",
                "jwks_uri": "jwks",
            }.items()
        }
        known = {"issuer": self.address, "code_challenge_methods_supported": ["S256"], **addresses}
        return _present({**known, **self.discovery})

    def _authorize(self, query: Mapping[str, str]) -> str:
        """Let the user in who always says yes, and send them back with a code."""
        code = new_id("code")
        self._codes[code] = dict(query)
        answer = {"code": code, "state": query["state"], "iss": self.address}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def _redeem(self, form: Mapping[str, str]) -> Json:
        """Give a token for a code, once, to whoever knows the secret behind its challenge (RFC 7636)."""
        asked = self._codes.pop(form["code"])
        assert asked["code_challenge"] == base64url(sha256(form["code_verifier"].encode()).digest())
        scope = asked.get("scope", "")
        token = self.token(aud=form["resource"], scope=scope, headers={"typ": "at+jwt"})
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope}


class _Server(ThreadingHTTPServer):
    issuer: Issuer
    daemon_threads = True
    block_on_close = False  # a thread that hangs ends soon after it is released
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection to the issuer."""

    server: _Server

    def do_GET(self) -> None:
        """Answer, or fail as the test has asked."""
        issuer, path = self.server.issuer, urlsplit(self.path).path
        issuer.requests[path] += 1
        fault = issuer.faults.get(path, issuer.faults.get(""))
        if fault is not None:
            fault(self)
        else:
            self.serve()

    def do_POST(self) -> None:
        """Do the same."""
        self.do_GET()

    def serve(self, status: int = 200, alter: Callable[[bytes], bytes] = bytes, **headers: str) -> None:
        """Answer as an issuer does, or nearly so."""
        issuer, path = self.server.issuer, urlsplit(self.path).path
        length = int(self.headers.get("Content-Length", 0))
        form = dict(parse_qsl(self.rfile.read(length).decode()))
        found = issuer.document(path, dict(parse_qsl(urlsplit(self.path).query)), form)
        if isinstance(found, str):
            self.answer(302, b"", Location=found)
        elif found is None:
            self.answer(404, b"{}")
        else:
            self.answer(status, alter(json.dumps(found).encode()), **headers)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep the output of the tests clean."""


def answers(status: int, body: bytes, **headers: str) -> Fault:
    """Answer every request like this."""
    return lambda handler: handler.answer(status, body, **headers)


def alters(status: int = 200, alter: Callable[[bytes], bytes] = bytes, **headers: str) -> Fault:
    """Answer with what would be right, if it were not for this."""
    return lambda handler: handler.serve(status, alter, **headers)


def hangs(handler: Handler) -> None:
    """Take the request and say nothing until the issuer is let go of."""
    handler.server.issuer.released.wait(600)


def is_late(handler: Handler) -> None:
    """Answer, but only when the issuer is let go of."""
    handler.server.issuer.released.wait(600)
    handler.serve()


def drips(handler: Handler) -> None:
    """Send an answer that goes on and on, a byte at a time, so that no single wait is long."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.issuer.released.wait(0.02):
        handler.wfile.write(b" ")


def floods(handler: Handler) -> None:
    """Send an answer without an end, as fast as it is taken."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.issuer.released.is_set():
        handler.wfile.write(b" " * 65536)


def hangs_up(handler: Handler) -> None:
    """Break off in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"issuer": ')


@contextmanager
def issuing(path: str = "", *, tls: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    """Run an issuer for the length of the block."""
    issuer = Issuer(path, tls=tls)
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()
