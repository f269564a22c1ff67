"""What the embedded MongoDB server must be able to do with the settings that the launcher gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from shared.model import Json
from tests.machine import Servers

DOCUMENTS = 250_000
"""With the server's own settings the build of this index never ends."""
BATCH = 10_000


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    """A server of this test alone: what it does to the cache is nobody else's business."""
    servers = Servers(tmp_path)
    servers.start()
    yield servers.mongodb_uri
    servers.mongo.kill()  # asked to end, it writes for up to a minute what nobody will read
    servers.stop()


@pytest.mark.timeout(300)
def test_an_index_is_built_over_many_documents(uri: str) -> None:
    with MongoClient[Json](uri, socketTimeoutMS=60_000) as client:
        tracks = client["large"]["tracks"]
        for start in range(0, DOCUMENTS, BATCH):
            numbers = range(start, start + BATCH)
            tracks.insert_many([{"userId": f"user{n % 500}", "trackId": f"track{n}"} for n in numbers])

        name = tracks.create_index([("userId", 1), ("trackId", 1)], unique=True)

        found = tracks.find({"userId": "user7", "trackId": "track7"}).hint(name)
        assert [one["trackId"] for one in found] == ["track7"]
