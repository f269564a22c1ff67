"""Carries an assistant's messages between standard input and output and the HTTP door of a running Backline.

It knows nothing of what they say but what the HTTP transport wants to have in headers; so it is light, and speaks
every version of the protocol that the door speaks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Thread
from typing import Any, BinaryIO

import anyio
import httpx
from anyio.abc import TaskGroup

from api.mcp import wire
from shared.errors import BacklineError, ServiceUnavailable
from shared.model import Json

logger = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=120.0)
"""Longer than any answer takes; a silent stream is kept alive every few seconds."""
PATIENCE_SECONDS = 20.0  # how long a message waits for an API that did answer: a restart takes some seconds
RETRY_SECONDS = 0.25
DRAIN_SECONDS = 10.0  # how long answers on their way are waited for once the client has said all
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Find = Callable[[], Awaitable[tuple[str, str | None]]]
"""Return the address and the key of a Backline that runs, one of our own if need be. Raises `BacklineError`."""


async def serve(find: Find, *, trust_env: bool) -> int:
    """Carry messages until the client leaves or a signal comes; return the exit code for the shell."""
    with _private_streams() as (source, target):
        lines = _lines(source)
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=trust_env) as http:
            bridge = Bridge(http, find, target)
            async with anyio.create_task_group() as tasks:
                with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
                    tasks.start_soon(bridge.carry_all, lines, tasks.cancel_scope)
                    async for number in signals:
                        tasks.cancel_scope.cancel()
                        return 128 + number
    return 0


@contextmanager
def _private_streams() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Keep both streams to ourselves: nothing that is printed meanwhile gets between the messages."""
    sys.stdout.flush()
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        yield source, target
    finally:
        os.dup2(target.fileno(), 1)
        with suppress(BrokenPipeError):
            target.close()


def _lines(source: BinaryIO) -> asyncio.Queue[bytes | None]:
    """Return a queue of the lines of a stream, None at its end.

    They are read in a thread that nobody waits for: a blocked read can't be interrupted.
    """
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError, RuntimeError):  # the stream is gone, or the loop has ended
            for line in source:
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    Thread(target=read, name="stdin", daemon=True).start()
    return queue


class Bridge:
    """Each message becomes one request over HTTP; whatever that answers goes back line by line."""

    def __init__(self, http: httpx.AsyncClient, find: Find, target: BinaryIO) -> None:
        self._http, self._find, self._target = http, find, target
        self._version: str | None = None  # what an older client has agreed on with the server
        self._waiting: dict[str | int, anyio.CancelScope] = {}
        self._patience_seconds = 0.0
        self._end = anyio.CancelScope()

    async def carry_all(self, lines: asyncio.Queue[bytes | None], end: anyio.CancelScope) -> None:
        """Carry messages until there are no more, and then cancel `end`."""
        self._end = end
        async with anyio.create_task_group() as tasks:
            while (line := await lines.get()) is not None:
                if line.strip():
                    self._take(line, tasks)
            tasks.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        end.cancel()

    def _take(self, line: bytes, tasks: TaskGroup) -> None:
        """Begin to carry one message. Answers are dropped, for the server asks nothing of its clients."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._refuse(None, "This line is no JSON.", code=wire.PARSE_ERROR)
            return
        if not isinstance(message, dict):
            self._refuse(None, "A message is a JSON object.", code=wire.INVALID_REQUEST)
        elif message.get("method") == "notifications/cancelled":
            self._take_back(message)
        elif "method" in message and isinstance(message.get("id"), str | int):
            # Known before it runs: the next line may already take it back.
            self._waiting[message["id"]] = scope = anyio.CancelScope()
            tasks.start_soon(self._request, message, line, scope)
        elif "method" in message:
            tasks.start_soon(self._notify, message, line)

    def _take_back(self, message: Json) -> None:
        """Stop waiting for an answer: a stream that is closed is how the door hears of it."""
        waiting = self._waiting.get(_params(message).get("requestId", ""))
        if waiting is not None:
            waiting.cancel()

    async def _request(self, message: Json, line: bytes, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                async with self._posted(message, line) as response:
                    await self._pass_back(message, response)
            except BacklineError as error:
                self._refuse(message["id"], wire.in_words(error))
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                lost = ServiceUnavailable(f"The connection to Backline was lost: {reason}.")
                self._refuse(message["id"], wire.in_words(lost))
        if self._waiting.get(message["id"]) is scope:
            del self._waiting[message["id"]]

    async def _notify(self, message: Json, line: bytes) -> None:
        try:
            async with self._posted(message, line):
                pass
        except (BacklineError, httpx.HTTPError) as error:
            logger.warning("%s was lost: %s", message["method"], error)

    @asynccontextmanager
    async def _posted(self, message: Json, line: bytes) -> AsyncIterator[httpx.Response]:
        """Send a message; an API that was here before is waited for a while, wherever it comes back."""
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            **self._routing(message),
        }
        give_up = time.monotonic() + self._patience_seconds
        while True:
            url, key = await self._find()
            known = headers if key is None else {**headers, "Authorization": f"Bearer {key}"}
            request = self._http.build_request("POST", url.rstrip("/") + wire.PATH, content=line, headers=known)
            try:
                response = await self._http.send(request, stream=True)
                break
            except httpx.ConnectError:
                if time.monotonic() >= give_up:
                    raise ServiceUnavailable(f"No Backline answers at {url}.") from None
            await anyio.sleep(RETRY_SECONDS)
        self._patience_seconds = PATIENCE_SECONDS
        try:
            yield response
        finally:
            await response.aclose()

    def _routing(self, message: Json) -> dict[str, str]:
        """Return the headers that say over HTTP what a message says of itself."""
        params = _params(message)
        meta = params.get("_meta")
        version = meta.get(wire.VERSION_KEY) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            is_first = message["method"] == "initialize"
            return {} if is_first or self._version is None else {wire.VERSION_HEADER: self._version}
        headers = {wire.VERSION_HEADER: version, wire.METHOD_HEADER: str(message["method"])}
        name = params.get(wire.NAMES.get(message["method"], ""))
        return {**headers, wire.NAME_HEADER: wire.header_value(name)} if isinstance(name, str) else headers

    async def _pass_back(self, message: Json, response: httpx.Response) -> None:
        """Write what came back; a request is answered in any case."""
        media_type = response.headers.get("content-type", "").partition(";")[0]
        is_answered = False
        if media_type == "text/event-stream":
            async for data in _events(response):
                is_answered = self._pass_on(message, data) or is_answered
        elif media_type == "application/json":
            is_answered = self._pass_on(message, await response.aread())
        if not is_answered:
            self._refuse(message["id"], await _said_by(response))

    def _pass_on(self, message: Json, text: str | bytes) -> bool:
        """Write a message; return whether it is the answer."""
        try:
            reply = json.loads(text)
        except ValueError:
            return False
        if not isinstance(reply, dict):
            return False
        if "error" in reply:
            reply["id"] = message["id"]  # null where it was refused before its id was read
        if message["method"] == "initialize" and isinstance(reply.get("result"), dict):
            self._version = str(reply["result"].get("protocolVersion"))
        self._write(reply)
        return "method" not in reply

    def _refuse(self, message_id: str | int | None, reason: str, *, code: int = wire.INTERNAL_ERROR) -> None:
        self._write({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": reason}})

    def _write(self, message: Json) -> None:
        # In one piece and at once: a client that does not read has nothing else to wait for.
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        try:
            self._target.write(line + b"\n")
            self._target.flush()
        except BrokenPipeError:
            self._end.cancel()  # the client has left


def _params(message: Json) -> dict[str, Any]:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the data of each server-sent event."""
    data: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


async def _said_by(response: httpx.Response) -> str:
    """Return what an answer that is no message says: a problem document, or at least its status."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        await response.aread()
        problem = response.json()
        return f"{problem['code']}: {problem['detail']} {problem['advice']}"
    return f"Backline answered with HTTP {response.status_code} and no message."
