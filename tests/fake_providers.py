"""A Spotify and a ReccoBeats on loopback: real HTTP, scripted answers, and a record of what they were asked."""

from __future__ import annotations

import io
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, urlsplit

import soundfile

from tests.fake_accounts import Accounts

FEATURES = {
    "danceability": 0.5,
    "energy": 0.6,
    "key": 7,
    "loudness": -8.0,
    "mode": 1,
    "speechiness": 0.05,
    "acousticness": 0.1,
    "instrumentalness": 0.0,
    "liveness": 0.2,
    "valence": 0.7,
    "tempo": 120.0,
}
WHOLE = {**FEATURES, "time_signature": 4, "duration_ms": 200_000}
HEARD = {
    "acousticness": 0.3287,
    "danceability": 0.4065,
    "energy": 0.6529,
    "instrumentalness": 0.0269,
    "liveness": 0.131,
    "loudness": -6.5329,
    "speechiness": 0.0493,
    "tempo": 140.7761,
    "valence": 0.3396,
}
"""What ReccoBeats says of audio that it is sent, as its documentation has it."""
UPLOAD_BYTES_MAX, UPLOAD_SECONDS_MAX = 5_000_000, 30.0
ANALYSIS = "analysis/audio-features"
Known = Callable[[str], Mapping[str, Any] | None]


def track_id(number: int) -> str:
    """Return an id as Spotify writes them."""
    return f"{number:022d}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is answered in place of the truth."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    resets: bool = False  # break the connection
    hangs: bool = False  # never answer
    cut: bool = False  # promise more than is sent

    @classmethod
    def error(cls, status: int, message: str = "no", **more: Any) -> Reply:
        headers = more.pop("headers", {})
        body = {"error": {"status": status, "message": message, **more}}
        return cls(status=status, body=json.dumps(body).encode(), headers=headers)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that came in."""

    at: float  # monotonic, seconds
    path: str
    ids: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    bearer: str = ""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Audio that was sent."""

    file_name: str
    content: bytes
    seconds: float
    rate: int
    channels: int


class Side:
    """One of the two services."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.named: Known = lambda one: {"title": f"Song {one}", "artist": "Nobody", "ms": 200_000, "isrc": None}
        self.calls: list[Call] = []
        self.uploads: list[Upload] = []  # that were understood, whatever was answered
        self.script: deque[Reply | None] = deque()  # answers in their order; None is the truth
        self.always: Reply | None = None  # once the script is through
        self.closed: set[str] = set()  # paths that this app may not use
        self.delay_seconds = 0.0  # before each answer
        self._lock = Lock()

    def reply(self, call: Call) -> Reply | None:
        time.sleep(self.delay_seconds)
        with self._lock:
            self.calls.append(call)
            return self.script.popleft() if self.script else self.always

    def most_within(self, seconds: float) -> int:
        """Return the most calls that came in any time of this length."""
        times = sorted(call.at for call in self.calls)
        return max((sum(1 for other in times if at <= other < at + seconds) for at in times), default=0)


class FakeProviders:
    """Both services on one port."""

    def __init__(self) -> None:
        self.spotify = Side(lambda _: WHOLE)
        self.reccobeats = Side(lambda _: FEATURES)
        self.tokens_given = 0
        self.valid_tokens: set[str] = set()
        self.refuses_tokens = False  # what was given is never accepted
        self.refuses_app = False
        self.accounts = Accounts()
        self.released = Event()  # ends what hangs
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        cast(Any, self._server).fake = self
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="fakes")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """The settings of somebody who is to meet them in place of the true ones."""
        return {
            "BACKLINE_SPOTIFY_CLIENT_ID": "app",
            "BACKLINE_SPOTIFY_CLIENT_SECRET": "secret",
            "BACKLINE_SPOTIFY_URL": f"{self.url}/spotify/",
            "BACKLINE_SPOTIFY_TOKEN_URL": f"{self.url}/token",
            "BACKLINE_SPOTIFY_AUTHORIZE_URL": f"{self.url}/authorize",
            "BACKLINE_TOKEN_KEY": "a secret for tests, and for nothing else",
            "BACKLINE_RECCOBEATS_URL": f"{self.url}/reccobeats/",
            "BACKLINE_PROVIDER_BACKOFF_SECONDS": "0",
            "BACKLINE_PROVIDER_TIMEOUT_SECONDS": "2",
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def fake(self) -> FakeProviders:
        return cast(FakeProviders, cast(Any, self.server).fake)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == f"/reccobeats/{ANALYSIS}":
            side = self.fake.reccobeats
            truth = _hear(side, self.headers.get("Content-Type", ""), body)
            self._send(side.reply(Call(at=at, path=ANALYSIS, ids=())) or truth)
            return
        form = dict(parse_qsl(body.decode()))
        reply = self.fake.accounts.token_reply()
        if reply is not None:
            self._send(reply)
            return
        if self.fake.refuses_app:
            self._send(Reply(status=400, body=b'{"error": "invalid_client"}'))
            return
        if form.get("grant_type") != "client_credentials":
            found = self.fake.accounts.tokens(form)
            self._send(Reply(status=200 if "access_token" in found else 400, body=json.dumps(found).encode()))
            return
        self.fake.tokens_given += 1
        token = f"token-{self.fake.tokens_given}"
        self.fake.valid_tokens.add(token)
        self._json({"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def do_GET(self) -> None:
        at = time.monotonic()
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/authorize":
            self._send(Reply(status=302, headers={"Location": self.fake.accounts.authorize(query)}))
            return
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        ids = tuple(one for text in parse_qs(parts.query).get("ids", ()) for one in text.split(",") if one)
        service, _, path = parts.path.strip("/").partition("/")
        side = self.fake.spotify if service == "spotify" else self.fake.reccobeats
        reply = side.reply(Call(at=at, path=path, ids=ids, query=query, bearer=bearer))
        if reply is not None:
            self._send(reply)
        elif side is self.fake.spotify and not self._is_let_in(bearer):
            self._send(Reply.error(401, "The access token expired"))
        elif path.startswith(("playlists/", "me/")):
            self._answer_about_user(path, query, bearer)
        elif path in side.closed:
            self._send(Reply.error(403, "Forbidden"))
        else:
            truth = _truth(service, path, ids, side)
            self._send(
                Reply.error(404, "Resource not found") if truth is None else Reply(body=json.dumps(truth).encode())
            )

    def _is_let_in(self, bearer: str) -> bool:
        known = bearer in self.fake.valid_tokens or self.fake.accounts.of_token(bearer) is not None
        return not self.fake.refuses_tokens and known

    def _answer_about_user(self, path: str, query: Mapping[str, str], bearer: str) -> None:
        status, body = self.fake.accounts.answer(path, query, bearer)
        self._send(Reply(body=json.dumps(body).encode()) if status == 200 else Reply.error(status, "no"))

    def _json(self, value: Any) -> None:
        self._send(Reply(body=json.dumps(value).encode()))

    def _send(self, reply: Reply) -> None:
        if reply.hangs:
            self.fake.released.wait()
        if reply.resets or reply.hangs:
            # Lingering for no time at all sends a reset in place of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body) + (100 if reply.cut else 0)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection = self.close_connection or reply.cut

    def finish(self) -> None:
        """Close what is still open; a connection that was reset is closed already."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.connection.close()


def _truth(service: str, path: str, ids: tuple[str, ...], side: Side) -> Any:
    """Return what the services say when nothing is the matter: in an order of their own."""
    if path == "track":
        return {"content": [_recco_track(one, named) for one in ids if (named := side.named(one))]}
    if path == "tracks":
        return {"tracks": [_track(one, side.named(one)) for one in ids]}
    if path.startswith("tracks/"):
        return _track(path.rpartition("/")[2], side.named(path.rpartition("/")[2]))
    found = {one: side.known(one) for one in reversed(ids)}
    if service == "reccobeats":
        return {
            "content": [
                {"id": f"uuid-{one}", "href": f"https://open.spotify.com/track/{one}", **values}
                for one, values in found.items()
                if values is not None
            ]
        }
    return {"audio_features": [values and {"id": one, **values} for one, values in found.items()]}


def _hear(side: Side, content_type: str, body: bytes) -> Reply:
    """Return what ReccoBeats answers to a form with audio in it; longer than it hears is refused here."""
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    if form.get_content_type() != "multipart/form-data" or not form.is_multipart():
        return Reply(status=415, body=b'{"status": 4002}')
    parts = cast("list[Message]", form.get_payload())
    named = {part.get_param("name", header="content-disposition"): part for part in parts}
    content = named["audioFile"].get_payload(decode=True) if set(named) == {"audioFile"} else None
    if not isinstance(content, bytes):
        return Reply(status=400, body=b'{"error": "audioFile is missing", "status": 4002}')
    if len(content) > UPLOAD_BYTES_MAX:
        return Reply(status=413, body=b'{"error": "Too large", "status": 4002}')
    try:
        samples, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    except soundfile.LibsndfileError:
        return Reply(status=400, body=b'{"error": "Unsupported file type", "status": 4002}')
    seconds = len(samples) / rate
    if seconds > UPLOAD_SECONDS_MAX:
        return Reply(status=400, body=b'{"error": "Too long", "status": 4002}')
    name = named["audioFile"].get_filename() or ""
    side.uploads.append(Upload(file_name=name, content=content, seconds=seconds, rate=rate, channels=samples.shape[1]))
    return Reply(body=json.dumps(HEARD).encode())


def _track(one: str, named: Mapping[str, Any] | None) -> Any:
    return named and {
        "id": one,
        "name": named["title"],
        "artists": [{"name": named["artist"]}],
        "duration_ms": named["ms"],
        "external_ids": {"isrc": named["isrc"]} if named["isrc"] else {},
    }


def _recco_track(one: str, named: Mapping[str, Any]) -> Any:
    return {
        "href": f"https://open.spotify.com/track/{one}",
        "trackTitle": named["title"],
        "artists": [{"name": named["artist"]}],
        "durationMs": named["ms"],
        "isrc": named["isrc"],
    }


@contextmanager
def fake_providers() -> Iterator[FakeProviders]:
    """Yield both services, answering the truth until they are told otherwise."""
    fake = FakeProviders()
    fake.start()
    try:
        yield fake
    finally:
        fake.stop()
