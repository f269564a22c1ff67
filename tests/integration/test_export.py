"""Exports of a library: what is downloaded is the collection, in every format, and anonymous where that was asked."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from bson.dbref import DBRef
from bson.int64 import Int64
from bson.objectid import ObjectId

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.errors import InvalidRequest, ItemFailed
from shared.jobs import data_export
from shared.lifecycle import retry
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import artifacts, exports
from shared.store.database import ensure_library_indexes, library
from shared.store.job_record import JobRecord, JobStatus
from tests.exported import checked_download, download, read
from tests.integration.engine import Engine, engine_on
from workers.export import job as work

ROWS = 450
PLAYED = datetime(2026, 11, 20, 17, 45, 12, tzinfo=UTC)


@pytest.fixture
def engine(db: Db, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(data_export, "PART_ROWS", (10, 100))  # so that there are several parts
    with engine_on(db, settings) as own:
        yield own


@pytest.fixture
def plays(db: Db) -> list[Json]:
    """A listening history whose documents are not all alike."""
    found: list[Json] = [
        {
            "_id": ObjectId(),
            "userId": f"user{n % 3}@example.org",
            "trackId": f"track{n}",
            "playedAt": PLAYED + timedelta(minutes=n),
            "seconds": Int64(2**40 + n),
            "device": {"name": f"Ada's phone {n % 2}", "os": None},
            "with": {"bea@example.org": n, "host": DBRef("users", f"user{n % 3}@example.org")},
            **({"rating": 4.5 if n % 2 else 4, "labels": ["a", "ü"], "skipped": n % 4 == 0} if n > 200 else {}),
        }
        for n in range(ROWS)
    ]
    db["listening_history"].insert_many(found)
    return found


def export(engine: Engine, **request: Any) -> JobRecord:
    job = engine.drive(engine.submit("data_export", **request).id)
    assert job.status is JobStatus.SUCCEEDED, (job.error, [item.error for item in engine.items(job.id)])
    return job


def only_file(engine: Engine, job: JobRecord) -> tuple[Json, bytes]:
    """Return what the summary says of the one file, and its bytes, having held one against the other."""
    assert job.summary is not None
    (file,) = job.summary["files"]
    return file, checked_download(engine.db, file)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "parquet"])
def test_what_is_downloaded_is_the_collection(engine: Engine, plays: list[Json], form: str, compression: str) -> None:
    job = export(engine, format=form, collections=["listening_history"], options={"compression": compression})

    file, content = only_file(engine, job)

    assert file["rows"] == ROWS
    assert sorted(read(form, content), key=lambda one: one["_id"]) == plays
    assert len(engine.items(job.id)) > 4


def test_an_empty_collection_is_an_empty_file(engine: Engine) -> None:
    for form in ("json", "jsonl", "csv", "parquet"):
        _, content = only_file(engine, export(engine, format=form, collections=["recommendations"]))
        assert (read(form, content) if content else []) == []


def test_filters_and_fields_choose_what_is_exported(engine: Engine, plays: list[Json]) -> None:
    job = export(
        engine,
        format="jsonl",
        collections=["listening_history"],
        filters={
            "listening_history": {
                "userId": "user1@example.org",
                "playedAt": {"gte": "2026-11-20T18:00:00Z", "lt": "2026-11-20T20:00:00+00:00"},
                "device.os": None,
            }
        },
        fields={"listening_history": ["trackId", "device.name"]},
    )

    _, content = only_file(engine, job)

    wanted = [
        {"_id": one["_id"], "trackId": one["trackId"], "device": {"name": one["device"]["name"]}}
        for one in plays
        if one["userId"].startswith("user1") and 15 <= (one["playedAt"] - PLAYED).total_seconds() / 60 + 0.2 < 135
    ]
    assert read("jsonl", content) == wanted
    assert wanted


def test_a_file_says_what_it_is_where_that_was_asked_for(engine: Engine, plays: list[Json]) -> None:
    request = {"collections": ["listening_history"], "options": {"includeMetadata": True}}
    _, listed = only_file(engine, export(engine, format="json", **request))
    _, lines = only_file(engine, export(engine, format="jsonl", **request))
    _, table = only_file(engine, export(engine, format="parquet", **request))
    job = export(engine, format="csv", **request)

    assert job.summary is not None
    beside = next(file for file in job.summary["files"] if file["name"] == "listening_history-metadata")
    said = [
        json.loads(listed)["metadata"],
        json.loads(lines.splitlines()[0])["backlineExport"],
        json.loads(pq.read_schema(io.BytesIO(table)).metadata[b"backlineExport"]),
        json.loads(download(engine.db, artifacts.get(engine.db, beside["artifactId"]))),
    ]
    for one in said:
        assert one["rows"] == ROWS
        assert one["collection"] == "listening_history"
        assert "trackId" in [column["name"] for column in one["columns"]]
    assert len(json.loads(listed)["documents"]) == ROWS


def test_an_anonymous_export_names_nobody_and_still_tells_users_apart(engine: Engine, plays: list[Json]) -> None:
    request = {
        "format": "jsonl",
        "collections": ["listening_history"],
        "options": {"anonymize": True, "includeMetadata": True},
        "filters": {"listening_history": {"userId": {"in": [one["userId"] for one in plays[:2]]}}},
    }
    first = export(engine, **request)
    _, content = only_file(engine, first)
    _, again = only_file(engine, export(engine, **request))

    documents = read("jsonl", content)[1:]
    text = content.decode()
    assert "example.org" not in text
    assert "phone" not in text
    assert not [one for one in plays if str(one["_id"]) in text]
    assert len({one["userId"] for one in documents}) == 2
    assert {one["playedAt"].time() for one in documents} == {datetime.min.time()}
    assert {one["trackId"] for one in documents} == {one["trackId"] for one in plays if "user2" not in one["userId"]}
    assert not {one["userId"] for one in documents} & {one["userId"] for one in read("jsonl", again)[1:]}
    kept = exports.begin(engine.db, first.id, keeps=timedelta(days=1))
    assert kept.key is None, "the key of the pseudonyms is thrown away"


def test_a_csv_file_opens_in_any_reader(engine: Engine, plays: list[Json]) -> None:
    _, content = only_file(engine, export(engine, format="csv", collections=["listening_history"]))

    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))

    assert len(rows) == ROWS
    assert rows[300]["trackId"] == "track300"
    assert rows[300]["rating"] == "4"
    assert rows[0]["rating"] == ""
    assert rows[0]["playedAt"] == "2026-11-20T17:45:12.000Z"


@pytest.mark.parametrize(("compression", "unpack"), [("gzip", gzip.decompress), ("zstd", None)])
def test_compressed_files_are_read_by_the_usual_tools(
    engine: Engine, plays: list[Json], compression: str, unpack: Any
) -> None:
    request = {"format": "json", "collections": ["listening_history"], "options": {"compression": compression}}
    _, content = only_file(engine, export(engine, **request))

    if unpack is None:
        reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True)
        text = reader.read()
    else:
        text = unpack(content)

    assert len(json.loads(text)) == ROWS


def test_ids_of_every_type_are_exported(engine: Engine) -> None:
    ids = [None, 1, 2.5, "a", {"a": 1}, b"x", ObjectId(), True, now()]
    engine.db["users"].insert_many([{"_id": one, "userId": str(n)} for n, one in enumerate(ids)])

    _, content = only_file(engine, export(engine, format="jsonl", collections=["users"]))

    assert sorted(one["userId"] for one in read("jsonl", content)) == [str(n) for n in range(len(ids))]


def test_an_export_holds_the_documents_of_its_owner_alone(
    engine: Engine, plays: list[Json], settings: Settings
) -> None:
    own = library(engine.db, "beta")
    ensure_library_indexes(own)
    own["listening_history"].insert_one({"userId": "bea", "trackId": "t", "playedAt": now()})
    job = engine.submit_for("beta", "data_export", format="jsonl", collections=["listening_history"])
    ended = engine.drive(job.id)

    assert ended.summary is not None
    (file,) = ended.summary["files"]
    assert file["rows"] == 1
    assert artifacts.find(engine.db, file["artifactId"]) is None
    assert artifacts.find(own, file["artifactId"]) is not None
    assert ended.owner != DEFAULT_OWNER
    engine.db.client.drop_database(own.name)


def test_a_part_that_failed_is_made_up_for_by_a_retry(
    engine: Engine, plays: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = work._write

    def once(request: Any, item: Any, export_: Any, context: Any) -> Any:
        if item.part == 2 and context.epoch == 0:
            raise ItemFailed("broken", "It broke.")
        return written(request, item, export_, context)

    monkeypatch.setattr(work, "_write", once)
    request = {"format": "csv", "collections": ["listening_history"], "options": {"anonymize": True}}
    job = engine.drive(engine.submit("data_export", **request).id)
    assert job.status is JobStatus.PARTIAL
    assert job.summary is not None
    assert job.summary["files"] == []
    assert [item.error.code for item in engine.items(job.id) if item.error] == ["broken", "parts_missing"]

    retry(engine.db, job.id)
    ended = engine.drive(job.id)

    file, content = only_file(engine, ended)
    assert file["rows"] == ROWS
    assert len({one["userId"] for one in read("csv", content)}) == 3, "the pseudonyms are those of the first attempt"


def test_what_has_expired_is_gone(engine: Engine, plays: list[Json]) -> None:
    file, _ = only_file(engine, export(engine, format="json", collections=["listening_history"]))
    engine.db["artifacts"].update_one({"_id": file["artifactId"]}, {"$set": {"expiresAt": now()}})

    assert artifacts.find(engine.db, file["artifactId"]) is None
    assert all("expiresAt" in chunk for chunk in engine.db["artifacts.chunks"].find({}, {"expiresAt": 1}))


@pytest.mark.parametrize(
    "request_",
    [
        {"collections": ["jobs"]},
        {"collections": []},
        {"format": "xml"},
        {"collections": ["users"], "filters": {"users": {"$where": "1"}}},
        {"collections": ["users"], "filters": {"users": {"a.$b": 1}}},
        {"collections": ["users"], "filters": {"users": {"a": {"$gt": 1}}}},
        {"collections": ["users"], "filters": {"users": {"a": {}}}},
        {"collections": ["users"], "filters": {"audio_features": {"a": 1}}},
        {"collections": ["users"], "fields": {"users": ["a", "a.b"]}},
    ],
)
def test_a_request_that_asks_for_what_there_is_not_is_refused(engine: Engine, request_: Json) -> None:
    with pytest.raises(InvalidRequest):
        engine.submit("data_export", **request_)
