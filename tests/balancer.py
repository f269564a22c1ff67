"""A balancer of connections before several servers, as a Kubernetes service is one: it knows nothing of requests."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 14


@contextmanager
def balanced(urls: Sequence[str]) -> Iterator[str]:
    """Hand each new connection to the next of these servers that takes it; yield the address."""
    addresses = [(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, urls)]
    turns = itertools.count()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taker = Thread(target=_take, args=(listener, addresses, turns), daemon=True)
        taker.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()


def _take(listener: socket.socket, addresses: Sequence[tuple[str, int]], turns: Iterator[int]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            first = next(turns)
            server = _connected([addresses[(first + place) % len(addresses)] for place in range(len(addresses))])
            if server is None:
                client.close()
                continue
            for source, target in ((client, server), (server, client)):
                Thread(target=_carry, args=(source, target), daemon=True).start()


def _connected(addresses: Sequence[tuple[str, int]]) -> socket.socket | None:
    for address in addresses:
        with suppress(OSError):
            return socket.create_connection(address)
    return None


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BLOCK_BYTES):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()
