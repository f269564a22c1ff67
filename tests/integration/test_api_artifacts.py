"""Downloads: whole, in ranges, gone on with, and only for their owner while they last."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from datetime import timedelta

import httpx
import pytest

from shared.access import Scope
from shared.clock import now
from shared.jobs.data_export import described
from shared.model import Db
from shared.store import artifacts
from shared.store.artifacts import CHUNK_BYTES, Artifact, Segment, Writer
from tests.api_server import problem_of
from tests.holders import client_of, give_key

CONTENT = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"the end"
HEAD = b"[\n"


@pytest.fixture
def artifact(db: Db) -> Artifact:
    return make(db)


def make(db: Db) -> Artifact:
    """Store an artifact of a few bytes and a file of four chunks."""
    expires_at = now() + timedelta(days=1)
    with Writer(db, "part", expires_at) as writer:
        for start in range(0, len(CONTENT), 100_001):
            writer.write(CONTENT[start : start + 100_001])
        stored = writer.keep({})
    made = Artifact(
        id="art_1",
        job_id="job_1",
        name="users",
        filename="users-20261121.json",
        content_type="application/json",
        segments=(Segment(data=HEAD, size=len(HEAD)), Segment(file=stored.id, size=stored.length)),
        size=len(HEAD) + len(CONTENT),
        sha256=hashlib.sha256(HEAD + CONTENT).hexdigest(),
        rows=1,
        created_at=now(),
        expires_at=expires_at,
    )
    artifacts.save(db, made)
    return made


WHOLE = HEAD + CONTENT


def test_a_download_is_the_whole_file_and_says_what_it_is(api: httpx.Client, artifact: Artifact) -> None:
    answer = api.get(f"/api/artifacts/{artifact.id}")

    assert answer.status_code == 200
    assert answer.content == WHOLE
    assert answer.headers["content-length"] == str(len(WHOLE))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="users-20261121.json"'
    assert answer.headers["repr-digest"] == f"sha-256=:{b64encode(hashlib.sha256(WHOLE).digest()).decode()}:"


@pytest.mark.parametrize(
    ("range_", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1-4", 1, 5),
        ("bytes=100-", 100, len(WHOLE)),
        ("bytes=-7", len(WHOLE) - 7, len(WHOLE)),
        ("bytes=-99999999", 0, len(WHOLE)),
        (f"bytes={CHUNK_BYTES}-{CHUNK_BYTES + 3}", CHUNK_BYTES, CHUNK_BYTES + 4),
        (f"bytes={len(WHOLE) - 1}-99999999", len(WHOLE) - 1, len(WHOLE)),
    ],
)
def test_a_range_is_a_part_of_the_file(
    api: httpx.Client, artifact: Artifact, range_: str, start: int, stop: int
) -> None:
    answer = api.get(f"/api/artifacts/{artifact.id}", headers={"Range": range_})

    assert answer.status_code == 206
    assert answer.content == WHOLE[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(WHOLE)}"


@pytest.mark.parametrize("range_", ["bytes=-", "bytes=5-1", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"])
def test_a_range_that_nobody_understands_is_passed_over(api: httpx.Client, artifact: Artifact, range_: str) -> None:
    answer = api.get(f"/api/artifacts/{artifact.id}", headers={"Range": range_})

    assert answer.status_code == 200
    assert answer.content == WHOLE


@pytest.mark.parametrize("range_", [f"bytes={len(WHOLE)}-", "bytes=99999999-", "bytes=-0"])
def test_a_range_outside_of_the_file_is_refused(api: httpx.Client, artifact: Artifact, range_: str) -> None:
    answer = api.get(f"/api/artifacts/{artifact.id}", headers={"Range": range_})

    problem_of(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(WHOLE)}"


def test_a_download_goes_on_only_with_the_same_file(api: httpx.Client, artifact: Artifact) -> None:
    etag = api.head(f"/api/artifacts/{artifact.id}").headers["etag"]

    same = api.get(f"/api/artifacts/{artifact.id}", headers={"Range": "bytes=10-", "If-Range": etag})
    other = api.get(f"/api/artifacts/{artifact.id}", headers={"Range": "bytes=10-", "If-Range": '"another"'})

    assert (same.status_code, same.content) == (206, WHOLE[10:])
    assert (other.status_code, other.content) == (200, WHOLE)


def test_what_the_client_has_already_is_not_sent_again(api: httpx.Client, artifact: Artifact) -> None:
    etag = api.head(f"/api/artifacts/{artifact.id}").headers["etag"]

    answer = api.get(f"/api/artifacts/{artifact.id}", headers={"If-None-Match": f'"other", {etag}'})

    assert (answer.status_code, answer.content) == (304, b"")


def test_asking_about_a_file_sends_none_of_it(api: httpx.Client, artifact: Artifact) -> None:
    answer = api.head(f"/api/artifacts/{artifact.id}")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(WHOLE))
    assert answer.headers["accept-ranges"] == "bytes"


def test_an_artifact_is_for_its_owner_and_the_scope_and_its_time(api: httpx.Client, db: Db, artifact: Artifact) -> None:
    path = f"/api/artifacts/{artifact.id}"
    with client_of(give_key(db, "beta"), api.base_url) as other:
        problem_of(other.get(path), 404, "artifact_not_found")
    with client_of(give_key(db, "local", scopes=(Scope.JOBS_READ,)), api.base_url) as reader:
        problem_of(reader.get(path), 403, "not_allowed")
    db["artifacts"].update_one({"_id": artifact.id}, {"$set": {"expiresAt": now()}})

    problem_of(api.get(path), 404, "artifact_not_found")


def test_an_export_is_submitted_where_clients_of_the_library_look(api: httpx.Client, db: Db) -> None:
    body = {
        "format": "csv",
        "collections": ["audio_features"],
        "options": {"includeMetadata": True, "anonymize": False, "compression": True},
    }
    answer = api.post("/api/database/export", json=body)

    assert answer.status_code == 202
    assert answer.json()["kind"] == "data_export"
    request = api.get(answer.headers["location"]).json()["request"]
    assert request["options"] == {"includeMetadata": True, "compression": "gzip"}
    problem_of(api.post("/api/database/export", json={"collections": ["keys"]}), 422, "invalid_request")
    with client_of(give_key(db, "local", scopes=(Scope.JOBS_WRITE,)), api.base_url) as writer:
        problem_of(writer.post("/api/database/export", json=body), 403, "not_allowed")
        schedule = {"name": "own", "kind": "data_export", "request": body, "cron": "0 2 * * *"}
        problem_of(writer.post("/api/schedules", json=schedule), 403, "not_allowed")


def test_a_file_is_described_as_the_summary_of_its_job_names_it(artifact: Artifact) -> None:
    assert described(artifact).href == f"/api/artifacts/{artifact.id}"
