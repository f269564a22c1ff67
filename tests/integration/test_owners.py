"""Three owners on one Backline: through no route and no tool does one see, or touch, what is another's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import permutations
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceTemplateReference

from shared.access import DEFAULT_OWNER, Scope
from shared.clock import now
from shared.items import ItemStatus
from shared.jobs import known_kinds
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import artifacts, audio_features, clusters, recommendations
from shared.store.artifacts import Artifact, Segment
from shared.store.clusters import Cluster
from shared.store.contents import Content, Features, Provenance
from shared.store.database import library
from shared.store.defaults import NAMES
from shared.store.indexes import IndexName, IndexPointer
from shared.store.job_record import JobStatus
from shared.store.recommendations import Recommendation
from tests.api_server import Worker, serving
from tests.holders import Holder, client_of, give_key
from tests.mcp_client import ERAS, MODERN, Door, body, connect, run, text_of
from tests.search_stage import Show, Song, publish, wait_until_open

OWNERS = (DEFAULT_OWNER, "beta", "gamma")
NOBODYS = "job_0000000000000000000000000000"
BODIES: Mapping[str, Json] = {
    "submit_audio_features": {"paths": ["/music"]},
    "submit_squares": {"items": 1},
    "submit_noop": {"items": 1},
    "submit_rationed": {"items": 1},
    "submit_staged": {"items": 1},
    "submit_staged_again": {"items": 1},
    "submit_catalogue_import": {"path": "/data/release.jsonl"},
    "submit_vector_index": {"index": "catalogue"},
    "submit_database_validate": {},
    "submit_database_repair": {},
    "approve_job": {"planHash": "0"},
    "submit_data_export": {"collections": ["users"]},
    "export_database": {"collections": ["users"]},
    "submit_data_import": {"collection": "users", "format": "jsonl", "path": "/music/users.jsonl"},
    "submit_analytics": {"type": "mood-analysis"},
    "submit_recommendations": {"userId": "ada"},
    "submit_clusters": {"index": "catalogue"},
    "submit_track_features": {"trackIds": ["4uLU6hMCjMI75M1A2tKUQC"]},
    "batch_audio_features": {"trackIds": ["4uLU6hMCjMI75M1A2tKUQC"], "userId": "ada"},
    "submit_playlist_analysis": {"trackIds": ["4uLU6hMCjMI75M1A2tKUQC"]},
    "submit_history_sync": {"userId": "ada"},
    "submit_cache_warming": {},
    "begin_spotify_authorization": {"userId": "ada", "redirectUri": "https://echotune.example/callback"},
    "end_spotify_authorization": {"code": "any"},
    "create_schedule": {"name": "own", "kind": "squares", "request": {"items": 1}, "cron": "0 2 * * *"},
    "change_schedule": {"paused": True},
    "search": {"query": "nightly"},
    "build_playlist": {"seeds": ["the-same"], "length": 2},
}
"""A valid body for each route that takes one."""
PARAMETERS: Mapping[str, Json] = {"read_recommendations": {"userId": "local"}}
"""What must stand in the address of a route."""
SUBMITS = {kind.tool_name: f"submit_{kind.name}" for kind in known_kinds().values()}
FOR_OPERATORS = frozenset(
    (
        *("create_key", "list_keys", "revoke_key", "read_audit", "cache_stats", "invalidate_cache"),
        *("metrics", "detailed_health", "submit_cache_warming"),
    )
)
OPEN_TO_ALL = frozenset(("live", "ready", "resource_metadata"))


class Estate:
    """What one owner has: a job that is done, one that waits, a schedule, the features of a track, two indexes."""

    def __init__(self, db: Db, worker: Worker, api: httpx.Client, holder: Holder) -> None:
        self.holder = holder
        self.name = f"nightly-{holder.owner}"
        self.done = worker.submit(owner=holder.owner, user=f"user of {holder.owner}").id
        worker.begin(self.done)
        worker.complete(self.done, 0, [ItemStatus.SUCCEEDED, ItemStatus.FAILED])
        worker.end(self.done, JobStatus.PARTIAL)
        self.waiting = worker.submit(owner=holder.owner).id
        schedule = {**BODIES["create_schedule"], "name": self.name}
        assert api.post("/api/schedules", json=schedule, headers=holder.headers).status_code == 201
        self.track = f"track-{holder.owner}"
        self.artifact = artifacts.artifact_id(self.done, "users")
        artifacts.save(library(db, holder.owner), artifact(self.artifact, self.done))
        audio_features.upsert(library(db, holder.owner), "local", [(self.track, "/music/one.wav", content())])
        self.item = f"item-{holder.owner}"
        recommendations.insert(library(db, holder.owner), [recommendation(self.item)])
        clusters.save(library(db, holder.owner), [cluster(self.item)], [[self.item]])

    def publish(self, db: Db, settings: Settings) -> list[IndexPointer]:
        """Give the owner indexes, in which their schedule's name is that of an item and of a track."""
        shows = [Show(id=self.name, title=f"Nightly {self.name}", theme="space", tags=(self.track,))]
        user, ids = f"user of {self.holder.owner}", ("the-same", self.name)
        songs = [Song(user=user, id=one, title=self.name, sound=1) for one in ids]
        return [
            publish(db, settings, [show.entry() for show in shows], owner=self.holder.owner),
            publish(db, settings, [song.entry() for song in songs], owner=self.holder.owner, name="tracks"),
        ]

    @property
    def ids(self) -> tuple[str, ...]:
        """What nobody else may ever read."""
        return (
            self.done,
            self.waiting,
            self.name,
            self.track,
            self.item,
            self.artifact,
            f"user of {self.holder.owner}",
            self.holder.id,
        )


def artifact(artifact_id: str, job_id: str) -> Artifact:
    return Artifact(
        id=artifact_id,
        job_id=job_id,
        name="users",
        filename="users.json",
        content_type="application/json",
        segments=(Segment(data=b"[]", size=2),),
        size=2,
        sha256="0" * 64,
        created_at=now(),
        expires_at=now() + timedelta(days=1),
    )


def content() -> Content:
    provenance = Provenance(algorithm="a", version="1", effort="quick", decoder="d", window_seconds=1.0)
    return Content(id="hash:1", content_hash="hash", features=Features(tempo=120.0), provenance=provenance)


def recommendation(item: str) -> Recommendation:
    return Recommendation(
        id=item,
        user_id="local",
        index=IndexName.CATALOGUE,
        item_id=item,
        score=0.5,
        rank=1,
        reason="",
        cold_start=False,
        created_at=now(),
        expires_at=now() + timedelta(days=1),
        job_id="job",
    )


def cluster(item: str) -> Cluster:
    return Cluster(
        id="one",
        index=IndexName.CATALOGUE,
        space="text",
        snapshot="snapshot",
        job_id="job",
        number=1,
        of=1,
        size=1,
        label="all",
        representatives=(item,),
        titles=(None,),
        cohesion=1.0,
        silhouette=0.0,
        created_at=now(),
    )


@pytest.fixture
def api(searching: Settings) -> Iterator[httpx.Client]:
    app = {"spotify_client_id": "app", "token_key": "a secret for tests, and for nothing else"}
    with serving(Settings.model_validate({**searching.model_dump(), **app})) as client:
        yield client


@pytest.fixture
def estates(db: Db, searching: Settings, worker: Worker, api: httpx.Client) -> Iterator[list[Estate]]:
    found = [Estate(db, worker, api, give_key(db, owner)) for owner in OWNERS]
    wait_until_open(searching.search_url or "", *(one for each in found for one in each.publish(db, searching)))
    yield found
    for owner in OWNERS[1:]:
        db.client.drop_database(library(db, owner).name)


def operations(api: httpx.Client) -> Iterator[tuple[str, str, Json]]:
    """Yield every route: its method, its path, and what the description says of it."""
    for path, methods in api.get("/api/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] not in OPEN_TO_ALL:
                yield method.upper(), path, operation


ABOUT_ONES_OWN = ("{job_id}", "{name}", "{artifact_id}", "{key_id}", "{item_id}", "{track_id}", "{state}")
"""What a path names that has an owner."""


def ask(
    client: httpx.Client, method: str, path: str, operation: Json, *, job_id: str, name: str, artifact_id: str
) -> httpx.Response:
    """Call a route with these ids in their places."""
    ids = {"job_id": job_id, "name": name, "key_id": name, "artifact_id": artifact_id, "item_id": name}
    place = path.format(**ids, track_id=name, state=name, type="mood-analysis", user_id="local")
    headers = {"Last-Event-ID": "0.0"} if place.endswith("/events") else {}
    body = BODIES.get(operation["operationId"])
    parameters = PARAMETERS.get(operation["operationId"])
    with client.stream(method, place, params=parameters, json=body, headers=headers) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            next(response.iter_lines())
        else:
            response.read()
        return response


def seen(response: httpx.Response, *ids: str) -> tuple[int, str]:
    """Return what an answer tells, whichever of these ids it was about."""
    text = response.text
    for one in ids:
        text = text.replace(one, "ID")
    return response.status_code, text


def test_no_route_tells_one_owner_of_another(api: httpx.Client, estates: list[Estate]) -> None:
    asked = 0
    for mine, theirs in permutations(estates, 2):
        with client_of(mine.holder, api.base_url) as client:
            for method, path, operation in operations(api):
                if any(part in path for part in ABOUT_ONES_OWN) and operation["operationId"] not in FOR_OPERATORS:
                    for job_id in (theirs.done, theirs.waiting):
                        there = {"job_id": job_id, "name": theirs.name, "artifact_id": theirs.artifact}
                        nowhere = {"job_id": NOBODYS, "name": "no-such-one", "artifact_id": "art_0"}
                        foreign = ask(client, method, path, operation, **there)
                        missing = ask(client, method, path, operation, **nowhere)
                        assert seen(foreign, *there.values()) == seen(missing, *nowhere.values()), path
                        assert foreign.status_code == 404, path
                        asked += 1
                elif operation["operationId"] not in FOR_OPERATORS and path != "/api/schedules":
                    answer = ask(client, method, path, operation, job_id="", name="", artifact_id="")
                    assert answer.is_success, (path, answer.text)
                    assert not [one for one in theirs.ids if one in answer.text], path
                    asked += 1
    assert asked >= 6 * 20


def test_lists_hold_ones_own_and_nothing_else(api: httpx.Client, estates: list[Estate]) -> None:
    for mine in estates:
        with client_of(mine.holder, api.base_url) as client:
            assert {job["id"] for job in client.get("/api/jobs").json()["jobs"]} == {mine.done, mine.waiting}
            defaults = [*NAMES] if mine.holder.owner == DEFAULT_OWNER else []
            listed = client.get("/api/schedules").json()["schedules"]
            assert [one["name"] for one in listed] == sorted([*defaults, mine.name])
            assert client.get("/api/status").json()["jobs"] == {"partial": 1, "queued": 1}
            for theirs in estates:
                listed = client.get("/api/jobs", params={"owner": theirs.holder.owner}).json()["jobs"]
                assert len(listed) == (2 if theirs is mine else 0)


def test_names_and_idempotency_keys_of_different_owners_do_not_meet(api: httpx.Client, estates: list[Estate]) -> None:
    jobs = []
    for mine in estates:
        with client_of(mine.holder, api.base_url) as client:
            schedule = {**BODIES["create_schedule"], "name": "the-same"}
            assert client.post("/api/schedules", json=schedule).status_code == 201
            assert client.post("/api/schedules", json=schedule).status_code == 409
            submitted = client.post("/api/jobs/squares", json={"items": 1}, headers={"Idempotency-Key": "the same"})
            jobs.append(submitted.json()["id"])
    assert len(set(jobs)) == len(estates)


def test_what_is_theirs_stands_untouched(api: httpx.Client, estates: list[Estate], worker: Worker) -> None:
    before = {estate.done: worker.db["jobs"].find_one({"_id": estate.done}) for estate in estates}
    schedules = list(worker.db["schedules"].find())
    for mine, theirs in permutations(estates, 2):
        with client_of(mine.holder, api.base_url) as client:
            for action in ("cancel", "retry"):
                assert client.post(f"/api/jobs/{theirs.done}/{action}").status_code == 404
            assert client.delete(f"/api/jobs/{theirs.waiting}").status_code == 404
            assert client.delete(f"/api/schedules/{theirs.name}").status_code == 404
            assert client.patch(f"/api/schedules/{theirs.name}", json={"paused": True}).status_code == 404
    assert {job_id: worker.db["jobs"].find_one({"_id": job_id}) for job_id in before} == before
    assert list(worker.db["schedules"].find()) == schedules


def test_every_route_but_the_public_ones_wants_a_key_and_a_scope(
    api: httpx.Client, db: Db, estates: list[Estate]
) -> None:
    powerless = give_key(db, "beta", scopes=())
    with httpx.Client(base_url=api.base_url) as stranger, client_of(powerless, api.base_url) as holder:
        for method, path, operation in operations(api):
            places = {"job_id": estates[1].done, "name": estates[1].name, "artifact_id": estates[1].artifact}
            assert ask(stranger, method, path, operation, **places).status_code == 401, path
            assert ask(holder, method, path, operation, **places).status_code == 403, path
            assert operation["security"][0]["key"], path
        assert stranger.get("/no/such/route").status_code == 401
        for public in ("/health/live", "/api/openapi.json", "/api/docs"):
            assert stranger.get(public).status_code == 200


# Assistants


def arguments_of(tool: str, *, job_id: str, name: str) -> Json:
    """Return valid arguments of a tool, with these ids in their places."""
    if tool in SUBMITS:
        return BODIES[SUBMITS[tool]]
    if tool in ("validate_database", "repair_database"):
        return {}
    if tool == "answer_job":
        return {"jobId": job_id, "action": "decline"}
    if tool == "add_schedule":
        return {**BODIES["create_schedule"], "name": "another"}
    if tool == "get_analytics":
        return {"type": "mood-analysis"}
    if tool == "get_recommendations":
        return PARAMETERS["read_recommendations"]
    if tool in ("pause_schedule", "remove_schedule"):
        return {"name": name}
    if tool in ("get_job", "wait_for_job", "get_job_items", "cancel_job", "retry_job"):
        return {"jobId": job_id, **({"timeout": 0} if tool == "wait_for_job" else {})}
    if tool in ("search_catalogue", "search_tracks"):
        return BODIES["search"]
    if tool == "find_similar":
        return {"itemId": name}
    return BODIES.get(tool, {})


ABOUT_ONE = ("jobId", "name", "itemId")


@pytest.mark.parametrize("era", ERAS)
def test_no_tool_tells_one_owner_of_another(api: httpx.Client, estates: list[Estate], era: str) -> None:
    async def steps(mine: Estate, theirs: Estate) -> int:
        asked = 0
        async with connect(Door(str(api.base_url).rstrip("/"), mine.holder.key), era) as client:
            for tool in (await client.list_tools()).tools:
                if SUBMITS.get(tool.name) in FOR_OPERATORS:
                    continue
                wanted = arguments_of(tool.name, job_id=theirs.done, name=theirs.name)
                answer = await client.call_tool(tool.name, wanted)
                text = text_of(answer.content) + str(answer.structured_content)
                asked += 1
                if not any(field in wanted for field in ABOUT_ONE) or tool.name == "add_schedule":
                    assert not [one for one in theirs.ids if one in text], tool.name
                    continue
                missing = await client.call_tool(tool.name, arguments_of(tool.name, job_id=NOBODYS, name="no-such-one"))
                said = text_of(answer.content).replace(theirs.done, "ID").replace(theirs.name, "ID")
                assert answer.is_error, tool.name
                assert said == text_of(missing.content).replace(NOBODYS, "ID").replace("no-such-one", "ID")
            about_jobs = (f"job://{theirs.done}", f"job://{theirs.done}/items")
            for uri in (*about_jobs, f"features://{theirs.track}", f"artifact://{theirs.artifact}"):
                with pytest.raises(Exception, match="not_found"):
                    await client.read_resource(uri)
                asked += 1
            assert theirs.track not in str(await completed(client, "features://{trackId}{?userId}", "trackId"))
            assert mine.track in str(await completed(client, "features://{trackId}{?userId}", "trackId"))
            shown = str(await completed(client, "job://{id}", "id"))
            assert mine.done in shown
            assert theirs.done not in shown
        return asked

    for mine, theirs in permutations(estates, 2):
        assert run(lambda mine=mine, theirs=theirs: steps(mine, theirs)) >= 15  # type: ignore[misc]


async def completed(client: Any, uri: str, name: str) -> Any:
    return await client.complete(ResourceTemplateReference(type="ref/resource", uri=uri), {"name": name, "value": ""})


@pytest.mark.parametrize("era", ERAS)
def test_a_tool_wants_its_scope(api: httpx.Client, db: Db, estates: list[Estate], era: str) -> None:
    async def steps(key: str) -> None:
        async with connect(Door(str(api.base_url).rstrip("/"), key), era) as client:
            assert (await client.call_tool("get_job", {"jobId": estates[1].done})).is_error is False
            if era == "auto":  # the request's headers name the tool, so HTTP itself tells what is missing
                with pytest.raises(MCPError):
                    await client.call_tool("cancel_job", {"jobId": estates[1].waiting})
            else:
                refusal = await client.call_tool("cancel_job", {"jobId": estates[1].waiting})
                assert refusal.is_error
                assert "jobs:write" in text_of(refusal.content)

    run(lambda: steps(give_key(db, "beta", scopes=(Scope.JOBS_READ,)).key))
    assert db["jobs"].find_one({"_id": estates[1].waiting})["cancelRequestedAt"] is None  # type: ignore[index]


def test_assistants_without_a_key_or_a_scope_are_told_by_http(api: httpx.Client, db: Db, estates: list[Estate]) -> None:
    call = body("tools/call", {"name": "cancel_job", "arguments": {"jobId": estates[1].waiting}})
    headers = {**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "cancel_job"}
    with httpx.Client(base_url=api.base_url) as stranger:
        assert stranger.post("/mcp", json=call, headers=headers).status_code == 401
    with client_of(give_key(db, "beta", scopes=(Scope.JOBS_READ,)), api.base_url) as reader:
        refused = reader.post("/mcp", json=call, headers=headers)
        assert refused.status_code == 403
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert 'scope="jobs:write"' in refused.headers["www-authenticate"]
