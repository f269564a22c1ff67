"""The right to build a collection, which one process at a time has; it lapses when its holder dies.

The server knows no locks, so a claim is a point that says when its holder was last alive. Who finds another living one
beside its own withdraws: two that begin at once may both withdraw, but never both go on. The clocks of builders have to
agree to within `LAPSE_SECONDS`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from qdrant_client import QdrantClient, models

from workers.vectors.errors import BuildInProgress, EngineRefused, VectorsError
from workers.vectors.qdrant.asking import asking
from workers.vectors.qdrant.points import point_id

CLAIMS = "backline-claims"
"""The one collection of all claims on a server."""

LAPSE_SECONDS = 90.0
BEAT_SECONDS = 15.0

_CLAIMS_MAX = 1_000  # on one collection: what is more is not looked at


@contextmanager
def claimed(client: QdrantClient, collection: str, build: str) -> Iterator[None]:
    """Hold the right to build a collection; raises `BuildInProgress` where another process has it."""
    claim = _Claim(client, collection, build)
    claim.begin()
    thread = threading.Thread(target=claim.keep, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        claim.over.set()
        thread.join()
        with suppress(VectorsError):  # it lapses
            claim.withdraw()


class _Claim:
    """One claim, of one build."""

    def __init__(self, client: QdrantClient, collection: str, build: str) -> None:
        self.over = threading.Event()
        self._client = client
        self._collection = collection
        self._build = build

    def begin(self) -> None:
        """Write the claim down, and withdraw it if it is not the only living one."""
        self._ensure_claims()
        with asking(f"Claiming {self._collection}"):
            self._say_alive()
            others = [one for one in self._claims() if one.id != point_id(self._build)]
            dead = [one.id for one in others if not _is_alive(one)]
            if dead:
                self._client.delete(CLAIMS, models.PointIdsList(points=dead), wait=True)
            if len(dead) < len(others):
                self.withdraw()
                raise BuildInProgress(f"Another process is building {self._collection}.")

    def keep(self) -> None:
        """Say again and again that its holder is alive, until it is over."""
        while not self.over.wait(BEAT_SECONDS):
            with suppress(VectorsError), asking(f"Claiming {self._collection}"):  # the next beat may be heard
                self._say_alive()

    def withdraw(self) -> None:
        """Delete the claim."""
        with asking(f"Claiming {self._collection}"):
            self._client.delete(CLAIMS, models.PointIdsList(points=[point_id(self._build)]), wait=True)

    def _ensure_claims(self) -> None:
        with asking("Looking for claims"):
            is_there = self._client.collection_exists(CLAIMS)
        if not is_there:
            with suppress(EngineRefused), asking("Making room for claims"):  # another one was quicker
                self._client.create_collection(CLAIMS, vectors_config={})

    def _say_alive(self) -> None:
        payload = {"collection": self._collection, "build": self._build, "alive": time.time()}
        point = models.PointStruct(id=point_id(self._build), vector={}, payload=payload)
        self._client.upsert(CLAIMS, [point], wait=True)

    def _claims(self) -> list[models.Record]:
        mine = models.FieldCondition(key="collection", match=models.MatchValue(value=self._collection))
        found, _ = self._client.scroll(CLAIMS, models.Filter(must=[mine]), limit=_CLAIMS_MAX)
        return found


def _is_alive(claim: models.Record) -> bool:
    alive: float = (claim.payload or {})["alive"]
    return time.time() - alive < LAPSE_SECONDS
