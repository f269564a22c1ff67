"""A database that is well, and every fault that the checks know, in known numbers: seeded, so always the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.objectid import ObjectId
from gridfs import GridFSBucket
from pymongo.errors import OperationFailure

from shared.clock import now
from shared.items import ItemStatus
from shared.model import Db, Json
from shared.store import chunks, jobs, outcomes
from shared.store.job_record import JobRecord, JobStatus, PlanState, Progress
from shared.store.outcomes import Outcome, StoredItem
from workers.audio.features import VERSION

UNITS = ("danceability", "energy", "valence", "speechiness", "acousticness", "instrumentalness", "liveness")
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 1000
DRIFTED = 120
NOTES = "notes"
SECRET = "mongodb://admin:hunter22@db.example"  # a made-up one, for the checks to find
Faults = Counter[tuple[str, str]]
"""How often each check has to fail in each collection."""


class Made:
    """Makes documents with ids of the past, always the same ones for a seed."""

    def __init__(self, db: Db, *, documents: int, seed: int = 1) -> None:
        self.db = db
        self.random = random.Random(seed)
        self.users = [f"user{n}" for n in range(max(documents // 100, 20))]
        self.documents = documents
        self._ids = 0

    def new_id(self) -> ObjectId:
        """Return the next id."""
        self._ids += 1
        return ObjectId(int(START.timestamp()).to_bytes(4, "big") + self._ids.to_bytes(8, "big"))

    def user(self, user_id: str, **more: Any) -> Json:
        return {"_id": self.new_id(), "userId": user_id, "createdAt": self.moment(), **more}

    def moment(self) -> datetime:
        return START + timedelta(seconds=self.random.randrange(10_000_000))

    def track(self, user_id: str, track_id: str, **more: Any) -> Json:
        made = self.moment()
        pick = self.random
        return {
            "_id": self.new_id(),
            "userId": user_id,
            "trackId": track_id,
            **{name: pick.random() for name in UNITS},
            "key": pick.randrange(12),
            "mode": pick.randrange(2),
            "tempo": pick.uniform(60, 180),
            "loudness": pick.uniform(-30, -5),
            "time_signature": 4,
            "duration_ms": pick.randrange(60_000, 400_000),
            "contentHash": f"{pick.getrandbits(128):032x}",
            "confidence": {"tempo": 0.9, "key": 0.8},
            "reasons": {},
            "tags": {"rock": 0.5},
            "warnings": [],
            "provenance": {"provider": "local", "algorithm": "backline", "version": VERSION},
            "path": f"/music/{track_id}.flac",
            "createdAt": made,
            "updatedAt": made + timedelta(days=1),
            **more,
        }

    def play(self, user_id: str, track_id: str, **more: Any) -> Json:
        return {"_id": self.new_id(), "userId": user_id, "trackId": track_id, "playedAt": self.moment(), **more}

    def tip(self, user_id: str, track_id: str, **more: Any) -> Json:
        own = {"score": self.random.random(), "createdAt": self.moment()}
        return {"_id": self.new_id(), "userId": user_id, "trackId": track_id, **own, **more}

    def insert(self, collection: str, documents: Iterator[Json] | list[Json]) -> None:
        batch: list[Json] = []
        for one in documents:
            batch.append(one)
            if len(batch) == BATCH:
                self.db[collection].insert_many(batch)
                batch = []
        if batch:
            self.db[collection].insert_many(batch)


def make_clean(db: Db, *, documents: int, seed: int = 1) -> Made:
    """Fill a database with about so many documents in which nothing is wrong; its indexes are there already."""
    made = Made(db, documents=documents, seed=seed)
    made.insert("users", [made.user(user, audioFeaturesSummary={"tracks": 1}) for user in made.users])
    tracks, plays, tips = documents * 6 // 10, documents * 25 // 100, documents * 14 // 100
    owners = [made.users[n % len(made.users)] for n in range(tracks)]
    made.insert("audio_features", (made.track(owner, f"track{n}") for n, owner in enumerate(owners)))
    made.insert("listening_history", (made.play(owners[n % tracks], f"track{n % tracks}") for n in range(plays)))
    made.insert("recommendations", (made.tip(owners[n], f"track{n}") for n in range(tips)))
    db.create_collection(NOTES, validator={"$jsonSchema": {"required": ["text"]}})
    db[NOTES].insert_many([{"_id": made.new_id(), "text": f"note {n}"} for n in range(10)])
    GridFSBucket(db).upload_from_stream_with_id(made.new_id(), "whole", b"x" * 600_000)
    for n in range(10):
        _finished_job(db, f"job_clean{n}")
    return made


def _finished_job(db: Db, job_id: str) -> None:
    job = JobRecord(
        id=job_id,
        kind="squares",
        owner="local",
        user_id="ada",
        request={},
        status=JobStatus.SUCCEEDED,
        progress=Progress(total=2, total_is_exact=True, succeeded=2),
        plan=PlanState(chunks=1, items=2, exhausted=True),
        created_at=START,
        updated_at=START,
        started_at=START,
        finished_at=START,
    )
    items = tuple(StoredItem(index=n, item={"number": n}, status=ItemStatus.SUCCEEDED, result={}) for n in range(2))
    outcome = Outcome(
        id=chunks.chunk_id(job_id, 0, 0),
        job_id=job_id,
        epoch=0,
        n=0,
        items=items,
        counts={ItemStatus.SUCCEEDED: 2},
        busy_seconds=0.1,
        worker="w",
        finished_at=START,
        expires_at=now() + timedelta(days=30),
    )
    db[jobs.COLLECTION].insert_one(job.to_document())
    db[outcomes.COLLECTION].insert_one(outcome.to_document())


def break_it(made: Made) -> Faults:
    """Break the database in every way that the checks know, and return how often each has to fail."""
    faults: Faults = Counter()
    for breaking in (_break_features, _break_users, _break_history, _break_tips, _break_engine, _break_files):
        faults.update(breaking(made, max(made.documents // 4000, 3)))
    made.db["recommendations"].create_index([("userId", 1)])
    faults["redundant_index", "recommendations"] = 1
    try:
        for n in range(3):
            made.db[NOTES].insert_one({"_id": made.new_id(), "n": n}, bypass_document_validation=True)
        faults["own_schema", NOTES] = 3
    except OperationFailure:
        pass  # a server that can't be told to let it pass
    return faults


def _break_features(made: Made, each: int) -> Faults:
    future = datetime(2100, 1, 1, tzinfo=UTC)
    changes: list[tuple[str, Json]] = [
        ("unknown_field", {"$set": {"danceabilty": 0.4}}),
        ("missing_required", {"$unset": {"energy": ""}}),
        ("wrong_type", {"$set": {"tempo": "120.5"}}),
        ("wrong_type", {"$set": {"valence": ["high"]}}),
        ("out_of_range", {"$set": {"danceability": 1.3}}),
        ("out_of_range", {"$set": {"key": 14}}),
        ("out_of_range", {"$set": {"tempo": float("nan")}}),
        ("future_date", {"$set": {"createdAt": future, "updatedAt": future}}),
        ("contradicting_dates", {"$set": {"updatedAt": START - timedelta(days=9)}}),
        ("secret_in_document", {"$set": {"path": SECRET}}),
        ("secret_in_document", {"$set": {"tags": {"AKIAABCDEFGHIJKLMNOP": "AKIAABCDEFGHIJKLMNOP"}}}),
        ("outdated_features", {"$set": {"provenance.version": "1.0.0"}}),
    ]
    faults: Faults = Counter()
    numbers = iter(made.random.sample(range(made.documents * 6 // 10), each * len(changes)))
    for check, update in changes:
        for _ in range(each):
            n = next(numbers)
            query = {"userId": made.users[n % len(made.users)], "trackId": f"track{n}"}
            assert made.db["audio_features"].update_one(query, update).modified_count == 1
        faults[check, "audio_features"] += each
    made.insert("audio_features", [made.track(f"nobody{n}", "lost") for n in range(each)])
    faults["orphan_user", "audio_features"] = each
    quiet = [made.track(made.users[0], f"old{n}", energy=n / 5000) for n in range(DRIFTED)]
    made.insert("audio_features", [{**one, "provenance": {"provider": "local", "version": "2.0.0"}} for one in quiet])
    faults["outdated_features", "audio_features"] += DRIFTED
    faults["drift", "audio_features"] = 1
    made.insert("audio_features", [made.track(made.users[0], "large", tags={"x" * 1_100_000: 0.5})])
    faults["large_document", "audio_features"] = 1
    return faults


def _break_users(made: Made, each: int) -> Faults:
    users = made.db["users"]
    users.insert_many([{"_id": made.new_id(), "userId": f"undated{n}"} for n in range(each)])
    users.insert_many([made.user(f"idle{n}", audioFeaturesSummary={"tracks": 9}) for n in range(each)])
    users.drop_index("userId_1")
    users.insert_many([made.user(made.users[n]) for n in range(each)])
    found = {"missing_required": each, "stale_summary": each, "duplicate": each, "unbuilt_unique": 1}
    return Counter({(check, "users"): count for check, count in found.items()})


def _break_history(made: Made, each: int) -> Faults:
    plays = [made.play(made.users[0], "track0") for _ in range(2 * each)]
    for n, one in enumerate(plays):
        if n < each:
            del one["playedAt"]
        else:
            one["playedAt"] = "yesterday"
    made.insert("listening_history", [*plays, *(made.play(f"nobody{n}", "track0") for n in range(each))])
    made.db["listening_history"].drop_index("userId_1_playedAt_-1")
    found = {"missing_required": each, "wrong_type": each, "orphan_user": each, "missing_index": 1}
    return Counter({(check, "listening_history"): count for check, count in found.items()})


def _break_tips(made: Made, each: int) -> Faults:
    tips = [made.tip(made.users[0], f"nowhere{n}") for n in range(each)]
    tips += [made.tip(made.users[n], f"track{n}") for n in range(each)]  # a second one each
    made.insert("recommendations", tips)
    for n in range(each, 2 * each):
        query = {"userId": made.users[n % len(made.users)], "trackId": f"track{n}"}
        made.db["recommendations"].update_one(query, {"$set": {"score": 17}})
    found = {"dangling_track": each, "duplicate": each, "out_of_range": each}
    return Counter({(check, "recommendations"): count for check, count in found.items()})


def _break_engine(made: Made, _: int) -> Faults:
    db = made.db
    for n in range(4):
        db[jobs.COLLECTION].update_one({"_id": f"job_clean{n}"}, {"$set": {"progress.succeeded": 7}})
    stray = {"kind": "squares", "queue": "cpu", "epoch": 0, "items": [], "turn": 0.0, "planner": "p", "process": None}
    gone = {"owner": None, "attempts": 0, "visibleAt": datetime(2100, 1, 1, tzinfo=UTC)}
    db[chunks.COLLECTION].insert_many(
        [{"_id": f"job_gone:0:{n}", "jobId": "job_gone", "n": n, **stray, **gone} for n in range(3)]
    )
    early = db[outcomes.COLLECTION].find_one({"_id": "job_clean9:0:0"}) or {}
    db[outcomes.COLLECTION].insert_one({**early, "_id": "job_clean9:3:0", "epoch": 3})
    return Counter({("wrong_totals", "jobs"): 4, ("orphan_chunk", "chunks"): 3, ("orphan_outcome", "outcomes"): 1})


def _break_files(made: Made, _: int) -> Faults:
    lost = made.new_id()
    made.db["fs.chunks"].insert_many([{"_id": made.new_id(), "files_id": lost, "n": n, "data": b"x"} for n in range(4)])
    torn = {"_id": made.new_id(), "filename": "torn", "length": 9, "chunkSize": 9, "uploadDate": START}
    made.db["fs.files"].insert_one(torn)
    return Counter({("gridfs_orphan_chunk", "fs.chunks"): 4, ("gridfs_incomplete", "fs.files"): 1})
