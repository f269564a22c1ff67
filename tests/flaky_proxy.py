"""A way to a server that breaks off after some bytes, as bad networks do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 14


@dataclass(kw_only=True)
class FlakyProxy:
    """Hands connections on to a server, and cuts each one once it has carried `bytes_max` of answers."""

    host: str
    port: int
    bytes_max: int
    listener: socket.socket
    cuts: int = 0
    asked: list[bytes] = field(default_factory=list)  # what clients sent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def ranges(self) -> list[int]:
        """Where each answer was to begin that was asked for in part."""
        lines = b"".join(self.asked).lower().split(b"\r\n")
        return [int(line.split(b"=")[1].rstrip(b"-")) for line in lines if line.startswith(b"range:")]

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection((self.host, self.port)) as server:
            upwards = Thread(target=self._ask, args=(client, server), daemon=True)
            upwards.start()
            with suppress(OSError):
                self._answer(client, server)
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            upwards.join()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(BLOCK_BYTES):
                self.asked.append(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        while data := server.recv(BLOCK_BYTES):
            data = data[: max(self.bytes_max - sent, 0)]
            client.sendall(data)
            sent += len(data)
            if sent >= self.bytes_max:
                self.cuts += 1
                return


@contextmanager
def flaky_proxy(url: str, *, bytes_max: int, port: int = 0) -> Iterator[FlakyProxy]:
    """Give a way to the server at `url` that breaks off, at a port of ours; 0 is any free one."""
    there = urlsplit(url)
    with socket.create_server(("127.0.0.1", port)) as listener:
        proxy = FlakyProxy(host=there.hostname or "", port=there.port or 80, bytes_max=bytes_max, listener=listener)
        taker = Thread(target=proxy.serve, daemon=True)
        taker.start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()
