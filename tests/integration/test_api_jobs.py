"""Submitting, reading, cancelling and retrying jobs over HTTP."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from shared import lifecycle
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.model import Db
from shared.store import jobs
from shared.store.job_record import JobStatus
from tests.api_server import Worker, problem_of
from tests.waiting import wait_until

DOCUMENT_FIELDS = {
    "id", "kind", "owner", "userId", "status", "epoch", "progress", "summary", "error", "cancelRequestedAt",
    "resumesAt", "schedule", "followedBy", "createdAt", "updatedAt", "startedAt", "finishedAt", "links",
}  # fmt: skip


def messages(redis_url: str) -> list[tuple[str, Any]]:
    """Return the task and the arguments of each message that waits in the control queue."""
    with redis.Redis.from_url(redis_url) as client:
        waiting: Any = client.lrange("control", 0, -1)
    found = []
    for text in waiting:
        message = json.loads(text)
        arguments = json.loads(base64.b64decode(message["body"]))[0]
        found.append((message["headers"]["task"], arguments))
    return found


# Submitting


def test_a_submitted_job_is_stored_and_answered_with_its_document(api: httpx.Client, db: Db) -> None:
    response = api.post("/api/jobs/squares", json={"userId": "ada", "items": 3})

    assert response.status_code == 202
    document = response.json()
    assert set(document) == DOCUMENT_FIELDS
    assert response.headers["location"] == document["links"]["self"] == f"/api/jobs/{document['id']}"
    assert (document["kind"], document["userId"], document["status"]) == ("squares", "ada", "queued")
    assert document["createdAt"].endswith("Z")
    assert document["progress"]["total"] == 0
    assert document["progress"]["etaSeconds"] is None
    assert jobs.get(db, document["id"]).request == {"userId": "ada", "items": 3}


def test_a_submitted_job_is_rung_for(api: httpx.Client, redis_url: str) -> None:
    job_id = api.post("/api/jobs/squares", json={"items": 3}).json()["id"]

    def is_rung() -> bool:
        return any(task == "backline.plan" and job_id in ids for task, (ids, *_) in messages(redis_url))

    assert wait_until(is_rung)


def test_many_jobs_at_once_are_all_rung_for_in_few_messages(api: httpx.Client, redis_url: str) -> None:
    def submit(_: int) -> str:
        return str(api.post("/api/jobs/squares", json={"items": 1}).json()["id"])

    with ThreadPoolExecutor(8) as threads:
        job_ids = set(threads.map(submit, range(120)))

    def rung() -> list[Any]:
        plans = [ids for task, (ids, *_) in messages(redis_url) if task == "backline.plan"]
        return [ids for ids in plans if job_ids & set(ids)]

    wait_until(lambda: job_ids <= {job_id for ids in rung() for job_id in ids})
    assert len(rung()) < 60


def test_an_unknown_kind_is_answered_with_the_known_ones(api: httpx.Client) -> None:
    problem = problem_of(api.post("/api/jobs/cubes", json={}), 404, "unknown_job_kind")

    assert "squares" in problem["detail"]
    assert "audio_features" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": "many"}, "items"),
        ({"items": 3, "fails": [1, "x"]}, "fails.1"),
        ({"userId": ""}, "userId"),
        ({"surprise": 1}, "surprise"),
        ({"userId": "\ud800"}, "userId"),
        ([1, 2], "request"),
    ],
)
def test_wrong_fields_are_named(api: httpx.Client, body: Any, field: str) -> None:
    response = api.post("/api/jobs/squares", content=json.dumps(body), headers={"Content-Type": "application/json"})

    problem = problem_of(response, 422, "invalid_request")
    assert [one["field"] for one in problem["errors"]] == [field]
    assert problem["errors"][0]["message"]


def test_a_rule_over_several_fields_is_explained(api: httpx.Client) -> None:
    problem = problem_of(api.post("/api/jobs/audio_features", json={}), 422, "invalid_request")

    assert problem["errors"] == [{"field": "request", "message": "give at least one of paths, tracks, trackIds"}]


def test_a_missing_body_is_a_wrong_request(api: httpx.Client) -> None:
    problem_of(api.post("/api/jobs/squares"), 422, "invalid_request")


def test_a_number_that_mongodb_can_not_hold_is_a_wrong_request(api: httpx.Client) -> None:
    problem_of(api.post("/api/jobs/squares", json={"items": 2**70}), 422, "invalid_request")


@pytest.mark.parametrize("content", [b"{", b'{"items": }', b"\xff\xfe", b"[" * 100_000])
def test_malformed_json_is_refused(api: httpx.Client, content: bytes) -> None:
    response = api.post("/api/jobs/squares", content=content, headers={"Content-Type": "application/json"})

    problem_of(response, 400, "malformed_body")


def test_a_body_that_is_not_marked_as_json_is_refused(api: httpx.Client) -> None:
    response = api.post("/api/jobs/squares", content=b'{"items": 3}', headers={"Content-Type": "text/plain"})

    problem_of(response, 415, "unsupported_media_type")


# Submitting once


def test_an_idempotency_key_returns_the_first_job(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first = api.post("/api/jobs/squares", json={"items": 3}, headers=headers)
    second = api.post("/api/jobs/squares", json={"items": 3}, headers=headers)

    assert "idempotent-replayed" not in first.headers
    assert (second.status_code, second.headers["idempotent-replayed"]) == (202, "true")
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["location"] == first.headers["location"]


def test_an_idempotency_key_belongs_to_one_request(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    api.post("/api/jobs/squares", json={"items": 3}, headers=headers)

    problem_of(api.post("/api/jobs/squares", json={"items": 4}, headers=headers), 422, "idempotency_conflict")


def test_an_idempotency_key_belongs_to_one_user(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    ids = {
        api.post("/api/jobs/squares", json={"userId": user, "items": 3}, headers=headers).json()["id"]
        for user in ("ada", "ben")
    }
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_an_idempotency_key_has_1_to_200_characters(api: httpx.Client, key: str) -> None:
    response = api.post("/api/jobs/squares", json={}, headers={"Idempotency-Key": key})

    problem = problem_of(response, 422, "invalid_request")
    assert [one["field"] for one in problem["errors"]] == ["Idempotency-Key"]


# Waiting


def test_a_client_that_prefers_to_wait_gets_the_ended_job(api: httpx.Client, worker: Worker) -> None:
    headers = {"Prefer": "respond-async, wait=30", "Idempotency-Key": "waited for"}
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(api.post, "/api/jobs/squares", json={"items": 3}, headers=headers)
        found = worker.find("local", "waited for")
        worker.begin(found.id)
        worker.end(found.id, JobStatus.SUCCEEDED, summary={"merged": 3, "good": 3})
        response = answer.result()

    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=30"
    assert response.json()["status"] == "succeeded"
    assert response.json()["summary"] == {"merged": 3, "good": 3}


def test_a_job_that_outlasts_the_wait_is_answered_as_it_is(api: httpx.Client) -> None:
    response = api.post("/api/jobs/squares", json={"items": 3}, headers={"Prefer": "wait=1"})

    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert response.headers["preference-applied"] == "wait=1"


def test_a_preference_that_makes_no_sense_is_ignored(api: httpx.Client) -> None:
    response = api.post("/api/jobs/squares", json={"items": 3}, headers={"Prefer": "wait=soon"})

    assert response.status_code == 202
    assert "preference-applied" not in response.headers


# Reading


def test_a_job_is_read_with_its_request(api: httpx.Client) -> None:
    submitted = api.post("/api/jobs/squares", json={"userId": "ada", "items": 3}).json()

    document = api.get(submitted["links"]["self"]).json()

    assert set(document) == DOCUMENT_FIELDS | {"request"}
    assert document["request"] == {"userId": "ada", "items": 3}


def test_a_running_job_says_how_fast_it_is_and_when_it_will_end(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=10)
    worker.begin(job.id, total=10)
    worker.complete(job.id, 0, [ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.FAILED, ItemStatus.SUCCEEDED])

    progress = api.get(f"/api/jobs/{job.id}").json()["progress"]

    assert (progress["total"], progress["totalIsExact"], progress["done"]) == (10, True, 4)
    assert (progress["succeeded"], progress["cached"], progress["failed"]) == (2, 0, 2)
    assert progress["busySeconds"] == 1.5
    assert progress["itemsPerSecond"] > 0
    assert progress["etaSeconds"] == pytest.approx(6 / progress["itemsPerSecond"], abs=0.06)


def test_no_end_is_foretold_while_items_are_still_being_counted(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=10)
    worker.begin(job.id, total=4, is_exact=False)
    worker.complete(job.id, 0, [ItemStatus.SUCCEEDED])

    progress = api.get(f"/api/jobs/{job.id}").json()["progress"]

    assert progress["itemsPerSecond"] > 0
    assert progress["etaSeconds"] is None


def test_a_failed_job_says_why(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.FAILED)

    assert api.get(f"/api/jobs/{job.id}").json()["error"] == {"code": "all_failed", "message": "No item is good."}


@pytest.mark.parametrize("path", ["", "/items", "/events"])
def test_a_job_that_does_not_exist_can_not_be_read(api: httpx.Client, path: str) -> None:
    problem = problem_of(api.get(f"/api/jobs/job_0{path}"), 404, "job_not_found")

    assert problem["instance"] == f"/api/jobs/job_0{path}"


def test_a_scheduled_job_is_found_where_its_links_lead(api: httpx.Client, db: Db) -> None:
    kind = get_kind("squares")
    job_id = "nightly@2026-11-21T02:00:00+00:00"
    lifecycle.submit(db, kind, lifecycle.validate_request(kind, {}), job_id=job_id, schedule="nightly")

    document = api.get("/api/jobs").json()["jobs"][0]

    assert (document["id"], document["schedule"]) == (job_id, "nightly")
    assert api.get(document["links"]["self"]).json()["id"] == job_id


def test_jobs_are_listed_newest_first_in_pages(api: httpx.Client, worker: Worker) -> None:
    submitted = [worker.submit(items=n) for n in range(1, 6)]
    expected = [job.id for job in sorted(submitted, key=lambda job: (job.created_at, job.id), reverse=True)]

    found: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get("/api/jobs", params=parameters).json()
        found += [job["id"] for job in page["jobs"]]
        assert all("request" not in job for job in page["jobs"])
        if page["nextCursor"] is None:
            break
        parameters["after"] = page["nextCursor"]

    assert found == expected


def test_the_list_of_jobs_is_filtered(api: httpx.Client, worker: Worker) -> None:
    done = worker.ended(JobStatus.SUCCEEDED, user="ada")
    partial = worker.ended(JobStatus.PARTIAL, user="ben")
    noop = worker.submit("noop", user="ada")

    def listed(**parameters: Any) -> set[str]:
        return {job["id"] for job in api.get("/api/jobs", params=parameters).json()["jobs"]}

    assert listed(userId="ada") == {done.id, noop.id}
    assert listed(kind="squares") == {done.id, partial.id}
    assert listed(status=["succeeded", "partial"]) == {done.id, partial.id}
    assert listed(kind="squares", userId="ben", status="partial") == {partial.id}
    assert listed(userId="nobody") == set()
    assert listed(owner="somebody") == set()


@pytest.mark.parametrize(
    ("parameters", "field"), [({"limit": 0}, "limit"), ({"limit": 501}, "limit"), ({"status": "odd"}, "status.0")]
)
def test_wrong_filters_are_named(api: httpx.Client, parameters: dict[str, Any], field: str) -> None:
    problem = problem_of(api.get("/api/jobs", params=parameters), 422, "invalid_request")

    assert [one["field"] for one in problem["errors"]] == [field]


@pytest.mark.parametrize("cursor", ["nonsense", "1e9", "99999999999999999999999.x"])
def test_a_made_up_cursor_of_jobs_is_refused(api: httpx.Client, cursor: str) -> None:
    problem_of(api.get("/api/jobs", params={"after": cursor}), 400, "invalid_cursor")


# Items


def test_items_are_read_in_pages_while_the_job_runs(api: httpx.Client, worker: Worker) -> None:
    # Given a job of which two chunks are done
    job = worker.submit(items=10)
    worker.begin(job.id)
    worker.complete(job.id, 0, [ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.SUCCEEDED])
    worker.complete(job.id, 1, [ItemStatus.SUCCEEDED, ItemStatus.SUCCEEDED, ItemStatus.CACHED])

    # When a reader follows the cursor
    first = api.get(f"/api/jobs/{job.id}/items", params={"limit": 4}).json()
    second = api.get(f"/api/jobs/{job.id}/items", params={"limit": 4, "after": first["nextCursor"]}).json()

    # Then it gets what is done, and a cursor for what is not
    assert first["jobStatus"] == "running"
    assert [item["index"] for item in first["items"] + second["items"]] == [0, 1, 2, 3, 4, 5]
    assert first["items"][0] == {
        "index": 0, "item": {"number": 0}, "status": "succeeded", "result": {"number": 0, "square": 0}, "error": None
    }  # fmt: skip
    assert first["items"][1]["error"] == {"code": "odd_number", "message": "It is odd."}
    later = api.get(f"/api/jobs/{job.id}/items", params={"after": second["nextCursor"]}).json()
    assert later["items"] == []
    assert later["nextCursor"] == second["nextCursor"]

    # And once the job has ended, there is no further cursor
    worker.end(job.id, JobStatus.PARTIAL)
    last = api.get(f"/api/jobs/{job.id}/items", params={"after": second["nextCursor"]}).json()
    assert (last["items"], last["nextCursor"], last["jobStatus"]) == ([], None, "partial")


def test_items_are_filtered_by_how_they_ended(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=3)
    worker.begin(job.id)
    worker.complete(job.id, 0, [ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.CACHED])

    page = api.get(f"/api/jobs/{job.id}/items", params={"status": ["failed", "cached"]}).json()

    assert [item["status"] for item in page["items"]] == ["failed", "cached"]


@pytest.mark.parametrize("cursor", ["x", "1.2", "0.-1.0", "0.99999999999999999999.0"])
def test_a_made_up_cursor_of_items_is_refused(api: httpx.Client, worker: Worker, cursor: str) -> None:
    job = worker.submit(items=3)

    problem_of(api.get(f"/api/jobs/{job.id}/items", params={"after": cursor}), 400, "invalid_cursor")


# Cancelling and retrying


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
def test_a_job_is_cancelled(api: httpx.Client, worker: Worker, redis_url: str, method: str, path: str) -> None:
    job = worker.submit(items=3)

    response = api.request(method, f"/api/jobs/{job.id}{path}")

    assert response.status_code == 202
    assert response.json()["cancelRequestedAt"] is not None
    assert jobs.is_cancelled(worker.db, job.id)
    wait_until(lambda: ("backline.finish", [job.id]) in messages(redis_url))


def test_cancelling_a_cancelled_job_changes_nothing(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.CANCELLED)

    response = api.post(f"/api/jobs/{job.id}/cancel")

    assert (response.status_code, response.json()["status"]) == (202, "cancelled")


def test_an_ended_job_can_not_be_cancelled(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.SUCCEEDED)

    problem_of(api.post(f"/api/jobs/{job.id}/cancel"), 409, "job_finished")


def test_what_failed_is_retried_in_a_new_epoch(api: httpx.Client, worker: Worker, redis_url: str) -> None:
    job = worker.ended(JobStatus.PARTIAL)

    response = api.post(f"/api/jobs/{job.id}/retry")

    assert response.status_code == 202
    assert (response.json()["status"], response.json()["epoch"]) == ("queued", 1)
    wait_until(lambda: any(job.id in ids for task, (ids, *_) in messages(redis_url) if task == "backline.plan"))


def test_no_rate_is_guessed_for_a_retry(api: httpx.Client, worker: Worker) -> None:
    job = worker.submit(items=4)
    worker.begin(job.id)
    worker.complete(job.id, 0, [ItemStatus.SUCCEEDED, ItemStatus.FAILED])
    worker.end(job.id, JobStatus.PARTIAL)

    progress = api.post(f"/api/jobs/{job.id}/retry").json()["progress"]

    assert (progress["done"], progress["itemsPerSecond"], progress["etaSeconds"]) == (1, None, None)


@pytest.mark.parametrize(("status", "code"), [(None, "job_not_finished"), (JobStatus.SUCCEEDED, "nothing_to_retry")])
def test_a_job_that_runs_or_succeeded_can_not_be_retried(
    api: httpx.Client, worker: Worker, status: JobStatus | None, code: str
) -> None:
    job = worker.ended(status) if status else worker.submit(items=3)

    problem_of(api.post(f"/api/jobs/{job.id}/retry"), 409, code)


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_nothing_can_be_done_to_a_job_that_does_not_exist(api: httpx.Client, action: str) -> None:
    problem_of(api.post(f"/api/jobs/job_0/{action}"), 404, "job_not_found")


# Kinds


def test_every_kind_is_listed_with_its_schemas(api: httpx.Client) -> None:
    kinds = {kind["name"]: kind for kind in api.get("/api/kinds").json()["kinds"]}

    audio = kinds["audio_features"]
    assert audio["title"] == "Extract audio features"
    assert audio["submit"] == "/api/jobs/audio_features"
    assert "trackIds" in audio["requestSchema"]["properties"]
    assert "contentHash" in audio["resultSchema"]["properties"]
    assert kinds["squares"]["itemSchema"]["properties"].keys() == {"number"}
    assert kinds["squares"]["summarySchema"]["properties"].keys() == {"merged", "good"}
