"""A client that sends one request again and again over several connections, in a process of its own.

``python -m tests.benchmarks.load PORT PATH BODY KEY CONNECTIONS SECONDS``
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles

from deploy.ports import LOOPBACK

ACCEPTED = b"HTTP/1.1 202 "
LENGTH = b"content-length: "


class Refused(Exception):
    """A request was not accepted."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How fast the answers came."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


def load(port: int, path: str, body: str, *, key: str, connections: int, seconds: float) -> Load:
    """Send the body to a route of this machine for so long, from a fresh process."""
    arguments = [str(port), path, body, key, str(connections), str(seconds)]
    command = [sys.executable, "-m", "tests.benchmarks.load", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Load(**json.loads(done.stdout))


async def _send_for(port: int, message: bytes, connections: int, seconds: float) -> Load:
    """Keep every connection busy, each with one request at a time."""
    started = time.perf_counter()
    senders = [_send(port, message, started + seconds) for _ in range(connections)]
    taken = [one for each in await asyncio.gather(*senders) for one in each]
    percentiles = quantiles(taken, n=100)
    return Load(
        requests_per_second=len(taken) / (time.perf_counter() - started),
        p50_ms=percentiles[49] * 1000,
        p99_ms=percentiles[98] * 1000,
    )


async def _send(port: int, message: bytes, until: float) -> list[float]:
    """Return how long each request took."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    taken: list[float] = []
    while (begun := time.perf_counter()) < until:
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        if not head.startswith(ACCEPTED):
            raise Refused(head.decode("latin-1"))
        taken.append(time.perf_counter() - begun)
    writer.close()
    await writer.wait_closed()
    return taken


def _length(head: bytes) -> int:
    start = head.lower().index(LENGTH) + len(LENGTH)
    return int(head[start : head.index(b"\r", start)])


def _message(path: str, body: str, key: str) -> bytes:
    content = body.encode()
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {LOOPBACK}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + content


def main(arguments: Sequence[str]) -> None:
    """Send, and print the result as JSON."""
    port, path, body, key, connections, seconds = arguments
    result = asyncio.run(_send_for(int(port), _message(path, body, key), int(connections), float(seconds)))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main(sys.argv[1:])
