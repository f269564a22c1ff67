"""Indexes for the tests of search: generated entries, real vectors, real snapshots, and a search server beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import httpx
import numpy as np
from numpy.typing import NDArray

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.jobs.vector_index import join_track_key
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import indexes
from shared.store.indexes import IndexPointer, Published
from tests.api_server import Server
from tests.machine import Part, free_port
from tests.waiting import wait_until
from workers.search.server import create_app
from workers.vectors.collections import AUDIO_DIMENSIONS, catalogue_schema, tracks_schema
from workers.vectors.embedders.minilm import DIMENSIONS, MiniLm
from workers.vectors.schema import Entry
from workers.vectors.shelf import Shelf

TOKEN = "a token of the tests alone"
THEMES = {
    "space": "bounty hunters chase criminals between the planets",
    "cooking": "a young chef learns to cook in a small restaurant",
    "football": "a school team dreams of the national championship",
    "ghosts": "a girl sees the spirits of the dead in an old house",
    "robots": "pilots fight a war in giant machines",
}


@dataclass(frozen=True, kw_only=True)
class Show:
    """What a test knows of an item of the catalogue."""

    id: str
    title: str
    theme: str
    synonyms: tuple[str, ...] = ()
    type: str = "TV"
    status: str = "FINISHED"
    season: str = "SPRING"
    year: int | None = 2000
    episodes: int | None = 12
    score: float | None = 7.0
    tags: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()
    catalogue: str = "anime"
    is_embedded: bool = True  # or it has the vector of its theme, which is quicker

    def entry(self) -> Entry:
        """Return the entry of the index."""
        about = THEMES[self.theme]
        attributes = {
            name: getattr(self, name)
            for name in ("type", "status", "season", "year", "episodes", "score", "catalogue", "studios", "artists")
        }
        return Entry(
            id=self.id,
            vectors={"text": vector_of(f"{self.title}. {about}" if self.is_embedded else about)},
            texts={
                "title": [self.title],
                "synonyms": list(self.synonyms),
                "tags": list(self.tags),
                "studios": list(self.studios),
                "artists": list(self.artists),
            },
            attributes={**attributes, "tags": self.tags},
        )


@dataclass(frozen=True, kw_only=True)
class Song:
    """What a test knows of a track."""

    user: str
    id: str
    title: str
    sound: int
    features: dict[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    artists: tuple[str, ...] = ("Somebody",)

    def entry(self) -> Entry:
        """Return the entry of the index; tracks whose `sound` is near by number sound alike."""
        return Entry(
            id=join_track_key(self.user, self.id),
            vectors={"audio": sound_of(self.sound), "text": vector_of(self.title)},
            texts={"title": [self.title], "tags": list(self.tags), "artists": list(self.artists)},
            attributes={
                **self.features,
                "user": self.user,
                "track": self.id,
                "tags": self.tags,
                "artists": self.artists,
            },
        )


def sound_of(number: int) -> NDArray[np.float32]:
    """Return a vector that turns slowly with its number, with a little of its own."""
    chance = np.random.default_rng(11)
    first, second = chance.standard_normal((2, AUDIO_DIMENSIONS))
    own = np.random.default_rng(number).standard_normal(AUDIO_DIMENSIONS)
    turned = first * np.cos(number / 20) + second * np.sin(number / 20) + 0.05 * own
    return np.asarray(turned, np.float32)


@lru_cache
def model() -> MiniLm:
    """Return the text model of this process."""
    return MiniLm()


@lru_cache(4096)
def vector_of(text: str) -> NDArray[np.float32]:
    """Return the vector of a text."""
    return model().embed_query(text)


def publish(
    db: Db,
    settings: Settings,
    entries: Sequence[Entry],
    *,
    owner: str = DEFAULT_OWNER,
    name: str = "catalogue",
    embedder: str = MiniLm.id,
) -> IndexPointer:
    """Build a snapshot of these entries and swing the pointer to it."""
    schema = (catalogue_schema if name == "catalogue" else tracks_schema)(DIMENSIONS)
    shelf = Shelf(indexes.folder(settings.index_dir, owner, name))
    with shelf.building(schema, provenance={"embedder": embedder}) as build:
        for entry in entries:
            build.put(entry)
        snapshot = build.publish()
    moment = now()
    published = Published(
        snapshot=snapshot, entries=len(entries), bytes=1, embedder=embedder, watermark=moment, built_at=moment
    )
    pointer = IndexPointer.following(indexes.find(db, owner, name), published, owner=owner, name=name)
    assert indexes.swing(db, pointer)
    return pointer


def state_of(url: str) -> Json | None:
    """Return how a search server stands; None while it does not answer."""
    try:
        answer = httpx.get(f"{url}/state", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5, trust_env=False)
    except httpx.TransportError:
        return None
    state: Json = answer.json()
    return state


def wait_until_open(url: str, *pointers: IndexPointer) -> None:
    """Wait until a search server is ready and has these snapshots open."""

    def are_open() -> bool:
        state = state_of(url)
        if state is None or not state["isReady"]:
            return False
        return {pointer.snapshot for pointer in pointers} <= {one["snapshot"] for one in state["indexes"]}

    wait_until(are_open, what="the opening of the snapshots")


@contextmanager
def serving_search(settings: Settings) -> Iterator[Settings]:
    """Serve searches from a thread of this process; yield the settings with which an API finds it."""
    server = Server(create_app(settings.model_copy(update={"search_token": _secret(settings)})))
    server.start()
    try:
        wait_until_open(server.url)
        yield with_search(settings, server.url)
    finally:
        server.stop()


def with_search(settings: Settings, url: str) -> Settings:
    """Return settings that name a search server."""
    return Settings.model_validate({**settings.model_dump(), "search_url": url, "search_token": TOKEN})


def _secret(settings: Settings) -> object:
    return with_search(settings, "http://unused").search_token


class SearchProcess:
    """A search server as a process of its own, that can be killed and started again on the same port."""

    def __init__(self, settings: Settings, folder: Path, shared: tuple[int, int] | None = None, /, **more: str) -> None:
        """Make one of several where they share a port, of which this one has a number."""
        port, number = shared or (free_port(), None)
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "workers.search", "--port", str(port)]
        command += [] if number is None else ["--number", str(number)]
        environment = {
            "MONGODB_URI": settings.mongodb_uri or "",
            "REDIS_URL": settings.redis_url or "",
            "BACKLINE_MONGODB_DATABASE": settings.mongodb_database,
            "BACKLINE_INDEX_DIR": str(settings.index_dir),
            "BACKLINE_SEARCH_TOKEN": TOKEN,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **more,
        }
        self.headers = {"Authorization": f"Bearer {TOKEN}"}
        self.part = Part("search", command, folder, environment)


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Answer every request on a loopback port with these bytes; yield the address."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(content)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
