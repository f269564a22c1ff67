"""Reading recommendations and clusters: over REST, by an assistant, on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import recommendations
from shared.store.indexes import IndexName
from shared.store.recommendations import Recommendation
from tests.holders import give_key
from tests.integration.engine import Engine, engine_on
from tests.mcp_client import Door, connect, run, text_of
from tests.taste_data import CATALOGUE, made_series, publish_index


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


def store(db: Db, user: str, count: int, *, days: float = 7, cold: bool = False, job: str = "job_1") -> None:
    recommendations.insert(
        db,
        [
            Recommendation(
                id=f"{job}:{user}:{rank}",
                user_id=user,
                index=IndexName.CATALOGUE,
                item_id=f"mal-{rank}",
                title=f"Series {rank}",
                score=1 - rank / 1000,
                rank=rank,
                reason=f"Because of {rank}.",
                cold_start=cold,
                created_at=now(),
                expires_at=now() + timedelta(days=days),
                job_id=job,
            )
            for rank in range(1, count + 1)
        ],
    )


def read(api: httpx.Client, **query: Any) -> Any:
    answer = api.get("/api/recommendations", params={"userId": "ada", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_newest_batch_is_read_by_rank(api: httpx.Client, db: Db) -> None:
    store(db, "ada", 30)
    store(db, "bob", 3)

    body = read(api, limit=25)

    assert [one["rank"] for one in body["recommendations"]] == list(range(1, 26))
    assert body["recommendations"][0] == {
        "itemId": "mal-1",
        "trackId": None,
        "title": "Series 1",
        "score": 0.999,
        "rank": 1,
        "reason": "Because of 1.",
    }
    assert (body["coldStart"], body["expired"], body["advice"], body["jobId"]) == (False, False, None, "job_1")
    assert len(read(api)["recommendations"]) == 20


def test_what_has_gone_from_the_catalogue_is_not_shown(api: httpx.Client, db: Db) -> None:
    store(db, "ada", 10)
    stored: list[Any] = [{"_id": "mal-1", "removedAt": now()}, {"_id": "mal-2", "removedAt": None}]
    db["catalogue"].insert_many(stored)

    assert [one["itemId"] for one in read(api, limit=3)["recommendations"]] == ["mal-2", "mal-3", "mal-4"]


def test_where_there_are_none_it_says_how_to_get_some(api: httpx.Client) -> None:
    body = read(api)
    assert body["recommendations"] == []
    assert not body["expired"]
    assert "recommendations" in body["advice"]
    assert read(api, index="tracks")["index"] == "tracks"


def test_what_has_expired_is_not_shown(api: httpx.Client, db: Db) -> None:
    store(db, "ada", 5, days=-1)

    body = read(api)

    assert (body["recommendations"], body["expired"]) == ([], True)
    assert "again" in body["advice"]


def test_a_cold_start_says_so(api: httpx.Client, db: Db) -> None:
    store(db, "ada", 5, cold=True)

    body = read(api)

    assert body["coldStart"]
    assert "ratings" in body["advice"]


@pytest.mark.parametrize(
    "query",
    [{"userId": ""}, {"userId": "x" * 257}, {"limit": 0}, {"limit": 201}, {"index": "films"}, {"limit": "many"}],
)
def test_what_can_not_be_is_refused(api: httpx.Client, query: Any) -> None:
    answer = api.get("/api/recommendations", params={"userId": "ada", **query})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert api.get("/api/recommendations").status_code == 422


def test_from_the_submit_to_the_reading(api: httpx.Client, engine: Engine, settings: Settings) -> None:
    publish_index(engine.db, settings, "catalogue", made_series(300), schema=CATALOGUE)
    for kind, body in (("recommendations", {"userId": "ada"}), ("clusters", {"k": 12})):
        submitted = api.post(f"/api/jobs/{kind}", json=body)
        assert submitted.status_code == 202, submitted.text
        engine.drive(submitted.json()["id"])

    assert len(read(api)["recommendations"]) == 20
    found = api.get("/api/clusters").json()
    assert (found["k"], len(found["clusters"])) == (12, 12)
    first = found["clusters"][0]
    assert first["label"].startswith("genre ")
    members = api.get("/api/clusters/members", params={"number": 1}).json()
    assert (len(members["ids"]), members["nextPart"]) == (first["size"], None)
    asked = api.get("/api/clusters", params={"item": members["ids"][0]}).json()
    assert asked["itemCluster"] == 1


def test_no_clusters_yet(api: httpx.Client) -> None:
    found = api.get("/api/clusters", params={"index": "tracks"}).json()
    assert (found["k"], found["clusters"]) == (0, [])
    assert "clusters" in found["advice"]
    assert api.get("/api/clusters/members", params={"number": 3}).json()["ids"] == []


def test_an_assistant_reads_them_in_words(api: httpx.Client, db: Db) -> None:
    store(db, "ada", 12)

    key = give_key(db, "local").key

    async def steps() -> tuple[str, str, str]:
        async with connect(Door(str(api.base_url).rstrip("/"), key), "auto") as client:
            known = await client.call_tool("get_recommendations", {"userId": "ada"})
            unknown = await client.call_tool("get_recommendations", {"userId": "nobody"})
            groups = await client.call_tool("get_clusters", {})
            assert not known.is_error
            assert known.structured_content is not None
            assert len(known.structured_content["recommendations"]) == 10
            return text_of(known.content), text_of(unknown.content), text_of(groups.content)

    known, unknown, groups = run(steps)
    assert known.splitlines()[0] == "1. Series 1 (mal-1, 1.00): Because of 1."
    assert unknown.startswith("There are no recommendations.\nSubmit a job")
    assert groups.startswith("There are no clusters.\nSubmit a job")
