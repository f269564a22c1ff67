"""Keys at the door: who gets in, how often, and what is written down of it."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from pymongo.errors import AutoReconnect

from api.access import keys as keyring
from api.app import create_app
from shared.access import ALL_SCOPES, Scope
from shared.clock import now
from shared.errors import WrongSetting
from shared.keys import ensure_key_file, new_key, parse_key, read_key_file
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import audit, keys
from shared.store.job_record import JobStatus
from shared.store.keys import StoredKey
from tests.api_server import Worker, bearer, problem_of, serving
from tests.holders import client_of, give_key
from tests.machine import free_port
from tests.waiting import wait_until


@pytest.fixture
def nobody(api: httpx.Client) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=api.base_url, timeout=20.0) as client:
        yield client


@contextmanager
def serving_with(settings: Settings, **changes: Any) -> Iterator[httpx.Client]:
    with serving(settings.model_copy(update=changes)) as client:
        yield client


def audit_of(api: httpx.Client, **filters: Any) -> list[Json]:
    """Return what the audit log has, once it has any."""
    found: list[Json] = wait_until(lambda: api.get("/api/audit", params=filters).json().get("entries"), what="an entry")
    return found


def left_of(answer: httpx.Response) -> int:
    """Return what an answer says to be left of the budget of requests."""
    (left,) = re.findall(r'"requests";r=(\d+)', answer.headers["ratelimit"])
    return int(left)


# Keys


def test_a_key_is_shown_once_and_stored_as_a_hash(api: httpx.Client, db: Db) -> None:
    response = api.post("/api/keys", json={"owner": "echotune", "scopes": ["jobs:read"], "name": "the shop"})
    assert response.status_code == 201
    made = response.json()
    assert response.headers["location"] == f"/api/keys/{made['id']}"
    assert parse_key(made["key"]) is not None
    assert (made["owner"], made["scopes"], made["expiresAt"]) == ("echotune", ["jobs:read"], None)

    listed = api.get("/api/keys").json()["keys"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert "key" not in listed[0]
    stored = str(db["api_keys"].find_one({"_id": made["id"]}))
    assert made["key"] not in stored
    assert made["key"][-43:] not in stored


def test_a_key_opens_what_its_scopes_say_and_nothing_else(api: httpx.Client) -> None:
    made = api.post("/api/keys", json={"owner": "echotune", "scopes": ["jobs:read"]}).json()
    with httpx.Client(base_url=api.base_url, headers=bearer(made["key"])) as reader:
        assert reader.get("/api/jobs").json()["jobs"] == []
        problem = problem_of(reader.post("/api/jobs/squares", json={"items": 1}), 403, "not_allowed")
        assert "jobs:write" in problem["detail"]
        problem_of(reader.get("/api/keys"), 403, "not_allowed")


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_may_come_in_either_header(api: httpx.Client, nobody: httpx.Client, header: str) -> None:
    key = api.headers["Authorization"].removeprefix("Bearer ")
    value = f"Bearer {key}" if header == "Authorization" else key
    assert nobody.get("/api/jobs", headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer backline_short"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer " + "x" * 20_000},
        {"X-API-Key": "\x7f"},
    ],
)
def test_what_is_no_key_opens_nothing(nobody: httpx.Client, headers: dict[str, str]) -> None:
    response = nobody.get("/api/jobs", headers=headers)
    problem_of(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")
    _, _, sent = headers.get("Authorization", "").partition(" ")
    assert not sent or sent not in response.text


def test_two_keys_at_once_are_refused(nobody: httpx.Client, db: Db) -> None:
    holder = give_key(db, "echotune")
    problem_of(nobody.get("/api/jobs", headers={**holder.headers, "X-API-Key": holder.key}), 401, "not_authenticated")


def test_an_unknown_an_expired_and_a_revoked_key_are_refused_in_the_same_words(nobody: httpx.Client, db: Db) -> None:
    known = give_key(db, "echotune")
    expired = give_key(db, "echotune", expires_at=now() - timedelta(seconds=1))
    revoked = give_key(db, "echotune")
    keys.revoke(db, revoked.id)
    forged = new_key()
    wrong_secret = f"backline_{known.id}_{forged.text[-43:]}"
    texts = {
        nobody.get("/api/jobs", headers=bearer(key)).text
        for key in (forged.text, expired.key, revoked.key, wrong_secret)
    }
    assert len(texts) == 1
    assert nobody.get("/api/jobs", headers=known.headers).status_code == 200


def test_a_revoked_key_opens_nothing_within_seconds(api: httpx.Client, db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "BELIEVED_SECONDS", 0.3)
    holder = give_key(db, "echotune")
    with client_of(holder, api.base_url) as client:
        assert client.get("/api/jobs").status_code == 200
        assert api.delete(f"/api/keys/{holder.id}").json()["revokedAt"] is not None
        wait_until(lambda: client.get("/api/jobs").status_code == 401, seconds=5, what="the refusal")
    assert api.delete(f"/api/keys/{holder.id}").status_code == 200
    problem_of(api.delete("/api/keys/none"), 404, "key_not_found")


def test_a_key_shows_when_it_was_used_last(api: httpx.Client, db: Db) -> None:
    holder = give_key(db, "echotune")
    with client_of(holder, api.base_url) as client:
        client.get("/api/jobs")
    (listed,) = api.get("/api/keys", params={"owner": "echotune"}).json()["keys"]
    assert listed["lastUsedAt"] is not None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner": "Echo Tune"}, "owner"),
        ({"owner": "a" * 33}, "owner"),
        ({"owner": "oidc-abc"}, "owner"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["jobs:read", "everything"]}, "scopes.1"),
        ({"expiresDays": 0}, "expiresDays"),
        ({"name": "x" * 201}, "name"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(api: httpx.Client, changes: Json, field: str) -> None:
    body = {"owner": "echotune", "scopes": ["jobs:read"], **changes}
    problem = problem_of(api.post("/api/keys", json=body), 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert api.get("/api/keys").json()["keys"] == []


def test_keys_that_are_known_open_also_while_mongodb_is_asked_nothing(
    settings: Settings, db: Db, tmp_path: Path
) -> None:
    path = tmp_path / "api.key"
    nowhere = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=100"
    with serving_with(settings, mongodb_uri=nowhere, api_key_file=path) as api:
        problem_of(api.get("/api/jobs"), 503, "service_unavailable")
        problem_of(api.get("/api/jobs", headers=bearer(new_key().text)), 503, "service_unavailable")
        assert api.get("/api/kinds").status_code == 200


def test_a_key_that_comes_with_many_requests_at_once_is_looked_up_once(
    api: httpx.Client, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a key that is looked up, and nobody knows the answer yet
    find, found, go_on, coming = keys.find, list[str](), Event(), 20

    def find_later(database: Db, key_id: str) -> StoredKey | None:
        found.append(key_id)
        assert go_on.wait(30)
        return find(database, key_id)

    monkeypatch.setattr(keys, "find", find_later)
    holder = give_key(db, "echotune")
    with client_of(holder, api.base_url) as client, ThreadPoolExecutor(coming) as pool:
        # When more requests come with it
        asking = [pool.submit(client.get, "/api/kinds") for _ in range(coming)]
        try:
            wait_until(lambda: "backline_http_requests_open 21.0" in api.get("/metrics").text, what="the requests")
        finally:
            go_on.set()

        # Then they have the one answer
        assert {one.result().status_code for one in asking} == {200}
    assert found == [holder.id]


# The key file


def test_the_key_file_is_made_for_its_user_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    key = ensure_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_key_file(path).text == key.text == read_key_file(path).text


def test_the_key_file_is_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    key = ensure_key_file(tmp_path / "api.key")
    assert ensure_key_file(tmp_path / "api.key").text == key.text
    assert [one.name for one in tmp_path.iterdir()] == ["api.key"]


def test_processes_that_start_together_come_to_one_key(tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    with ThreadPoolExecutor(16) as threads:
        found = {key.text for key in threads.map(lambda _: ensure_key_file(path), range(64))}
    assert len(found) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["api.key"]


@pytest.mark.parametrize("content", [b"", b"secret", b"backline_a_b", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "api.key"
    path.write_bytes(content)
    with pytest.raises(WrongSetting, match=r"api\.key"):
        ensure_key_file(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"oidc_issuer": "https://login.example"},
        {"oidc_issuer": "http://login.example", "oidc_audience": "backline"},
        {"oidc_issuer": "https://login.example", "oidc_audience": "backline", "oidc_algorithms": ("HS256",)},
        {"api_key_file": Path("/no/such/folder/api.key")},
    ],
)
def test_what_can_not_open_the_door_stops_the_start(
    settings: Settings, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        create_app(settings.model_copy(update=changes))
    assert refusal.value.code == 78
    assert capsys.readouterr().err.startswith("backline: ")


def test_a_key_hides_its_secret_from_repr() -> None:
    key = new_key()
    assert key.text[-43:] not in repr(key)


# Budgets


def test_a_spent_budget_is_answered_with_when_to_come_back(settings: Settings, db: Db) -> None:
    with serving_with(settings, rate_submits="3 per 10 minutes") as api:
        answers = [api.post("/api/jobs/squares", json={"items": 1}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert '"submits";q=3;w=600' in answers[0].headers["ratelimit-policy"]
        assert '"submits";r=2;' in answers[0].headers["ratelimit"]
        problem_of(answers[3], 429, "rate_limited")
        assert 1 <= int(answers[3].headers["retry-after"]) <= 600

        # Another key has a budget of its own, and reading costs nothing of it
        assert api.get("/api/jobs").status_code == 200
        with client_of(give_key(db, "echotune"), api.base_url) as other:
            assert other.post("/api/jobs/squares", json={"items": 1}).status_code == 202


def test_kinds_that_ask_providers_have_a_budget_of_their_own(
    settings: Settings, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(settings) as api:
        answers = [api.post("/api/jobs/rationed", json={"items": 1}) for _ in range(101)]
        assert [answer.status_code for answer in answers].count(202) == 100
        problem_of(answers[100], 429, "rate_limited")
        assert '"provider submits";q=100;w=900' in answers[0].headers["ratelimit-policy"]
        assert api.post("/api/jobs/squares", json={"items": 1}).status_code == 202


def test_two_front_doors_share_a_budget(settings: Settings, db: Db, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"rate_submits": "6 per 10 minutes", "api_key_file": tmp_path / "api.key"}
    with serving_with(settings, **changes) as one, serving_with(settings, **changes) as two:
        statuses = [door.post("/api/jobs/squares", json={"items": 1}).status_code for door in (one, two) * 4]
    assert statuses.count(202) == 6
    assert statuses[-2:] == [429, 429]


def test_a_large_budget_is_spent_to_the_last(settings: Settings, db: Db) -> None:
    with serving_with(settings, rate_requests="250 per 10 minutes") as api:
        statuses = [api.get("/api/kinds").status_code for _ in range(252)]
    assert statuses == [200] * 250 + [429] * 2


def test_a_budget_is_not_drawn_on_in_vain_by_doors_that_answer_little(
    settings: Settings, db: Db, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"rate_requests": "3000 per 10 minutes", "api_key_file": tmp_path / "api.key"}
    with ExitStack() as stack:
        doors = [stack.enter_context(serving_with(settings, **changes)) for _ in range(3)]
        left = [left_of(door.get("/api/kinds")) for door in doors]
    assert left == [2999, 2998, 2997]


def test_requests_at_the_same_time_draw_on_a_budget_once(settings: Settings, db: Db) -> None:
    with serving_with(settings, rate_requests="100000 per 10 minutes") as api, ThreadPoolExecutor(20) as pool:
        for _ in range(20):
            list(pool.map(lambda _: api.get("/api/kinds"), range(20)))
        used = 100_000 - left_of(api.get("/api/kinds"))
    assert 401 <= used < 2 * 401  # each of them used to draw a block of 1,000


def test_nobody_is_held_back_while_redis_is_down(settings: Settings, db: Db) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    with serving_with(settings, redis_url=away, rate_submits="1 per 10 minutes") as api:
        answers = [api.post("/api/jobs/squares", json={"items": 1}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert "ratelimit" not in answers[0].headers


@pytest.mark.parametrize("rate", ["", "many", "10 per fortnight", "-1 per minute"])
def test_a_rate_that_makes_no_sense_stops_the_start(settings: Settings, rate: str, capsys: Any) -> None:
    with pytest.raises(SystemExit), serving_with(settings, rate_requests=rate):
        pass
    assert "'100 per 15 minutes'" in capsys.readouterr().err


# Quotas


def test_an_owner_has_so_many_open_jobs_at_a_time(settings: Settings, worker: Worker) -> None:
    with serving_with(settings, quota_open_jobs=2) as api:
        first = api.post("/api/jobs/squares", json={"items": 1}).json()["id"]
        assert api.post("/api/jobs/squares", json={"items": 1}).status_code == 202
        response = api.post("/api/jobs/squares", json={"items": 1})
        problem_of(response, 429, "quota_exceeded")
        assert int(response.headers["retry-after"]) > 0

        with client_of(give_key(worker.db, "echotune"), api.base_url) as other:
            assert other.post("/api/jobs/squares", json={"items": 1}).status_code == 202

        worker.begin(first)
        worker.end(first, JobStatus.SUCCEEDED)
        wait_until(lambda: api.post("/api/jobs/squares", json={"items": 1}).status_code == 202, what="room")


# The audit log


def test_what_changes_something_is_written_down(api: httpx.Client, db: Db) -> None:
    holder = give_key(db, "echotune")
    with client_of(holder, api.base_url) as client:
        job_id = client.post("/api/jobs/squares", json={"items": 1}).json()["id"]
        client.post(f"/api/jobs/{job_id}/cancel")
        client.get("/api/jobs")
        client.post("/api/jobs/nonsense", json={})
    wait_until(lambda: len(audit_of(api, owner="echotune")) == 3, what="three entries")
    entries = audit_of(api, owner="echotune")
    shown = [(one["action"], one["target"], one["outcome"], one["status"]) for one in reversed(entries)]
    assert shown == [
        ("submit_squares", job_id, "ok", 202),
        ("cancel_job", job_id, "ok", 202),
        ("_submit_unknown", "nonsense", "unknown_job_kind", 404),
    ]
    assert {(one["actor"], one["door"], one["address"]) for one in entries} == {
        (f"key:{holder.id}", "rest", "127.0.0.1")
    }


def test_a_request_that_ends_in_a_mistake_of_ours_is_written_down_as_such(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("shared.lifecycle.new_job", fails)
    url = f"{str(api.base_url).rstrip('/')}/api/jobs/squares"  # uvicorn closes the connection behind such an answer
    problem_of(httpx.post(url, json={"items": 1}, headers=api.headers), 500, "internal_error")
    (entry,) = audit_of(api, action="submit_squares")
    assert entry["outcome"] == "internal_error"


def test_refusals_are_written_down_but_not_each_of_a_flood(api: httpx.Client, nobody: httpx.Client) -> None:
    for _ in range(50):
        nobody.get("/api/jobs")
    (entry,) = audit_of(api, outcome="not_authenticated")
    assert (entry["owner"], entry["actor"], entry["status"]) == (None, None, 401)


def test_the_audit_log_is_read_in_pages_and_by_filter(api: httpx.Client) -> None:
    for _ in range(5):
        api.post("/api/jobs/squares", json={"items": 1})
    api.delete("/api/keys/none")
    wait_until(lambda: len(audit_of(api)) == 6, what="six entries")
    first = api.get("/api/audit", params={"limit": 4}).json()
    second = api.get("/api/audit", params={"limit": 4, "after": first["nextCursor"]}).json()
    assert (len(first["entries"]), len(second["entries"]), second["nextCursor"]) == (4, 2, None)
    assert not {one["id"] for one in first["entries"]} & {one["id"] for one in second["entries"]}
    assert [one["outcome"] for one in audit_of(api, action="revoke_key")] == ["key_not_found"]
    later = (now() + timedelta(hours=1)).isoformat()
    assert api.get("/api/audit", params={"since": later}).json()["entries"] == []
    problem_of(api.get("/api/audit", params={"after": "nonsense"}), 400, "invalid_cursor")


def test_entries_wait_while_mongodb_is_away(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([AutoReconnect("a blip")])
    insert = audit.insert

    def fails_once(db: Db, entries: Any) -> None:
        for failure in failures:
            raise failure
        insert(db, entries)

    monkeypatch.setattr(audit, "insert", fails_once)
    api.post("/api/jobs/squares", json={"items": 1})
    assert [one["action"] for one in audit_of(api)] == ["submit_squares"]


def test_no_key_is_ever_written_to_a_log(api: httpx.Client, db: Db, caplog: pytest.LogCaptureFixture) -> None:
    holder = give_key(db, "echotune", scopes=(Scope.JOBS_READ,))
    with caplog.at_level(logging.DEBUG), client_of(holder, api.base_url) as client:
        client.post("/api/jobs/squares", json={"items": 1})
        client.get("/api/jobs", params={"after": "x"})
    own = [record for record in caplog.records if record.name.startswith(("api", "shared", "uvicorn"))]
    assert not [record for record in own if holder.key in record.getMessage()]


# Pages of other origins


def test_pages_of_listed_origins_may_call_and_no_others(settings: Settings, db: Db) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with serving_with(settings, cors_origins=("https://echotune.example",)) as api:
        good = {"Origin": "https://echotune.example"}
        answer = api.options("/api/jobs/squares", headers={**good, **preflight})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == good["Origin"]
        assert "access-control-allow-credentials" not in answer.headers
        submitted = api.post("/api/jobs/squares", json={"items": 1}, headers=good)
        assert submitted.status_code == 202
        assert "Location" in submitted.headers["access-control-expose-headers"]

        for origin in ("https://evil.example", "null", "https://echotune.example.evil", "file://"):
            answer = api.post("/api/jobs/squares", json={"items": 1}, headers={"Origin": origin})
            problem_of(answer, 403, "origin_not_allowed")
            assert "access-control-allow-origin" not in answer.headers
        own = {"Origin": str(api.base_url).rstrip("/")}
        assert api.post("/api/jobs/squares", json={"items": 1}, headers=own).status_code == 202


# Where it listens


OPEN: dict[str, Any] = {"api_host": "0.0.0.0", "api_key_is_local": True}
"""A stack of one machine whose front door is to be opened to others."""


def test_the_api_does_not_listen_to_others_before_there_is_a_key(
    settings: Settings, db: Db, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal, serving_with(settings, **OPEN):
        pass
    assert refusal.value.code == 78
    assert "backline keys create" in capsys.readouterr().err

    holder = give_key(db, "echotune")
    with serving_with(settings, **OPEN) as api, client_of(holder, api.base_url) as client:
        assert client.get("/api/jobs").status_code == 200

    keys.revoke(db, holder.id)
    with pytest.raises(SystemExit), serving_with(settings, **OPEN):
        pass


def test_a_key_file_that_somebody_named_lets_the_api_listen_to_others_on_an_empty_database(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "api.key"
    with serving_with(settings, api_host="0.0.0.0", api_key_file=path) as api:
        assert api.get("/api/keys", headers={"Authorization": f"Bearer {path.read_text().strip()}"}).status_code == 200
        assert httpx.get(f"{api.base_url}/api/keys", trust_env=False).status_code == 401


def test_every_scope_is_in_the_key_of_the_file(api: httpx.Client) -> None:
    document = api.get("/api/openapi.json").json()
    assert set(document["components"]["schemas"]["Scope"]["enum"]) == {scope.value for scope in ALL_SCOPES}
    assert api.get("/api/keys").status_code == 200
