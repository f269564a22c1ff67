"""Checks on the documents of a range beside those of other collections: orphans in both directions, stale features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from shared.batches import in_batches
from shared.findings import Severity
from shared.model import Db, Json
from shared.store import audio_features, chunks, jobs
from shared.store.job_record import FINAL, JobRecord
from shared.store.outcomes import COLLECTION as OUTCOMES
from workers.database.checks.check import Aside, RelationCheck, Scene
from workers.database.values import BATCH, OPTIONS
from workers.engine.finishing import exact_progress

USERS_GROUPED = 100
"""So many users are asked about at once: servers that look through a list of values for each document are slower with
more."""
IDS = 1000
"""So many ids are asked for at once."""
COUNTS = ("succeeded", "cached", "failed", "cancelled")


def _find(scene: Scene, condition: Json, projection: Json) -> Iterator[Json]:
    collection = scene.db.get_collection(scene.collection, codec_options=OPTIONS)
    yield from collection.find(scene.among(condition), projection, batch_size=BATCH)


def _known(db: Db, collection: str, field: str, values: Iterable[Any], **equal: Any) -> set[Any]:
    """Return those of the values that some document has in a field."""
    known: set[Any] = set()
    for part in in_batches(values, IDS):
        query = {**equal, field: {"$in": part}}
        known.update(one[field] for one in db[collection].find(query, {"_id": 0, field: 1}))
    return known


class OwnSchema(RelationCheck):
    """A document that the collection's own validator would refuse: older than that, or let in with it switched off."""

    id = "own_schema"
    title = "Refused by the collection's own schema"
    group = "schema"
    severity = Severity.MEDIUM
    cost = "scan"
    why = "Any change to such a document is refused by the server."
    advice = "Correct the documents, or the validator (collMod)."

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the documents that the validator does not find."""
        options = next(iter(scene.db.list_collections(filter={"name": scene.collection})), {}).get("options", {})
        validator = options.get("validator")
        if validator:
            yield from (one["_id"] for one in _find(scene, {"$nor": [validator]}, {"_id": 1}))


class OrphanOfUser(RelationCheck):
    """A document of a user that does not exist."""

    id = "orphan_user"
    title = "Document of an unknown user"
    group = "integrity"
    severity = Severity.MEDIUM
    why = "Nobody can ever see it, but every sum counts it."
    repair = "It is set aside in the quarantine."

    def concerns(self, scene: Scene) -> bool:
        """Whether its documents name users, and there are any."""
        return scene.form is not None and scene.form.users

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the documents whose user is not there, but those of the last hour: a job may be about to add it."""
        groups = scene.db[scene.collection].aggregate(
            [{"$match": scene.among({"userId": {"$type": "string"}})}, {"$group": {"_id": "$userId"}}],
            allowDiskUse=True,
        )
        users = {one["_id"] for one in groups}
        missing = users - _known(scene.db, audio_features.USERS, "userId", users)
        for part in in_batches(sorted(missing), IDS):
            condition = {"userId": {"$in": part}, "createdAt": {"$not": {"$gt": scene.settled}}}
            yield from (one["_id"] for one in _find(scene, condition, {"_id": 1}))

    def cured(self, document: Json, scene: Scene) -> Aside:
        """Set it aside."""
        return Aside("its user does not exist")


class StaleSummary(RelationCheck):
    """A user whose summary speaks of tracks, but who has none: the orphan of the other direction."""

    id = "stale_summary"
    title = "Summary of tracks that are not there"
    group = "integrity"
    severity = Severity.LOW
    why = "The user is shown averages of nothing."
    repair = "The summary is taken away; the next analysis writes it anew."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the users."""
        return scene.collection == audio_features.USERS

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the users without a track."""
        condition = {"audioFeaturesSummary.tracks": {"$gt": 0}, "userId": {"$type": "string"}}
        by_user: dict[str, list[Any]] = defaultdict(list)
        for one in _find(scene, condition, {"userId": 1}):
            by_user[one["userId"]].append(one["_id"])
        for part in in_batches(by_user, USERS_GROUPED):
            # Grouped and not one by one: that is a question for each user of the range.
            stages: list[Json] = [{"$match": {"userId": {"$in": part}}}, {"$group": {"_id": "$userId"}}]
            known = {one["_id"] for one in scene.db[audio_features.COLLECTION].aggregate(stages)}
            for user in part:
                yield from by_user[user] if user not in known else ()

    def cured(self, document: Json, scene: Scene) -> Json:
        """Leave it out."""
        return {name: value for name, value in document.items() if name != "audioFeaturesSummary"}


class DanglingTrack(RelationCheck):
    """A recommendation of a track that neither the user's features nor the catalogue know."""

    id = "dangling_track"
    title = "Recommendation of a missing item"
    group = "integrity"
    severity = Severity.MEDIUM
    why = "The user is shown a recommendation that leads nowhere."
    repair = "It is set aside in the quarantine."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are recommendations."""
        return scene.collection == "recommendations"

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the recommendations whose track is nowhere, those of the last hour left out."""
        condition: Json = {
            "userId": {"$type": "string"},
            "trackId": {"$type": "string"},
            "createdAt": {"$not": {"$gt": scene.settled}},
        }
        by_user: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for one in _find(scene, condition, {"userId": 1, "trackId": 1}):
            by_user[one["userId"]][one["trackId"]].append(one["_id"])
        missing: dict[str, list[Any]] = defaultdict(list)
        for user, tracks in by_user.items():
            known = _known(scene.db, audio_features.COLLECTION, "trackId", tracks, userId=user)
            for track in tracks.keys() - known:
                missing[track] += tracks[track]
        in_catalogue = _known(scene.db, "catalogue", "trackId", missing)
        in_catalogue |= _known(scene.db, "catalogue", "_id", missing.keys() - in_catalogue)
        for track in sorted(missing.keys() - in_catalogue):
            yield from missing[track]

    def cured(self, document: Json, scene: Scene) -> Aside:
        """Set it aside."""
        return Aside("its track does not exist")


class WrongTotals(RelationCheck):
    """A finished job whose counts are not those of its chunks' outcomes."""

    id = "wrong_totals"
    title = "Job's totals disagree with its chunks"
    group = "integrity"
    severity = Severity.MEDIUM
    why = "The job says that something was done, or not, that its items deny."
    repair = "The counts are drawn up again from the outcomes."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the engine's jobs."""
        return scene.is_operator and scene.collection == jobs.COLLECTION

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the jobs whose counts differ."""
        condition = {"status": {"$in": [status.value for status in FINAL]}}
        for document in _find(scene, condition, {"request": 0}):
            if _counted(document, scene) is not None:
                yield document["_id"]

    def cured(self, document: Json, scene: Scene) -> Json:
        """Set the counts."""
        counts = _counted(document, scene)
        return document if counts is None else {**document, "progress": {**document["progress"], **counts}}


def _counted(document: Json, scene: Scene) -> Json | None:
    """Return the counts of a finished job by its outcomes where they differ from its own, else None."""
    try:
        job = JobRecord.from_document({**document, "request": {}})
    except ValueError:
        return None  # that it is no job at all is what other checks say
    if not job.status.is_final:
        return None
    exact = exact_progress(scene.context.db, job)
    own = {name: getattr(job.progress, name) for name in COUNTS}
    counts = {name: getattr(exact, name) for name in COUNTS}
    return counts if counts != own else None


class OrphanChunk(RelationCheck):
    """A live chunk whose job does not want it: the job has ended, goes on in another epoch, or is gone."""

    id = "orphan_chunk"
    title = "Chunk without a job"
    group = "integrity"
    severity = Severity.MEDIUM
    why = "It is claimed again and again, or counted by nobody."
    repair = "It is set aside in the quarantine."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the engine's chunks."""
        return scene.is_operator and scene.collection == chunks.COLLECTION

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the chunks of jobs that ended an hour ago, or do not exist."""
        by_job: dict[str, list[Json]] = defaultdict(list)
        for one in _find(scene, {}, {"jobId": 1, "epoch": 1}):
            by_job[one.get("jobId", "")].append(one)
        for part in in_batches(by_job, IDS):
            known = {one["_id"]: one for one in scene.context.db[jobs.COLLECTION].find({"_id": {"$in": part}}, STATE)}
            for job_id in part:
                yield from (one["_id"] for one in by_job[job_id] if _is_unwanted(one, known.get(job_id), scene))

    def cured(self, document: Json, scene: Scene) -> Aside:
        """Set it aside."""
        return Aside("its job does not want it")


STATE = {"status": 1, "epoch": 1, "finishedAt": 1}


def _is_unwanted(chunk: Json, job: Json | None, scene: Scene) -> bool:
    if job is None:
        return True
    ended_at = job.get("finishedAt")
    has_ended = job.get("status") in {status.value for status in FINAL}
    is_settled = ended_at is not None and ended_at <= scene.settled
    return bool((has_ended and is_settled) or chunk.get("epoch", 0) < job.get("epoch", 0))


class OrphanOutcome(RelationCheck):
    """An outcome of an epoch that its job has not come to yet; what outlives its job is deleted in time."""

    id = "orphan_outcome"
    title = "Outcome that its job does not know"
    group = "integrity"
    severity = Severity.LOW
    why = "A retry of the job would come upon items that seem to be done."
    repair = "It is set aside in the quarantine."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the engine's outcomes."""
        return scene.is_operator and scene.collection == OUTCOMES

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the outcomes of later epochs than their job's."""
        groups = scene.db[OUTCOMES].aggregate(
            [{"$match": scene.query}, {"$group": {"_id": "$jobId", "epoch": {"$max": "$epoch"}}}], allowDiskUse=True
        )
        latest = {one["_id"]: one["epoch"] for one in groups}
        for part in in_batches(latest, IDS):
            for job in scene.context.db[jobs.COLLECTION].find({"_id": {"$in": part}}, STATE):
                if latest[job["_id"]] > job.get("epoch", 0):
                    condition = {"jobId": job["_id"], "epoch": {"$gt": job.get("epoch", 0)}}
                    yield from (one["_id"] for one in _find(scene, condition, {"_id": 1}))

    def cured(self, document: Json, scene: Scene) -> Aside:
        """Set it aside."""
        return Aside("its job does not know it")


class ChunkWithoutFile(RelationCheck):
    """A piece of a GridFS file that does not exist."""

    id = "gridfs_orphan_chunk"
    title = "GridFS chunk without a file"
    group = "integrity"
    severity = Severity.MEDIUM
    why = "It takes up space, and nobody can ever read it."
    repair = "It is set aside in the quarantine."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the pieces of a GridFS bucket."""
        return scene.collection.endswith(".chunks")

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the pieces whose file is not there, those of the last hour left out: it may be on its way."""
        groups = scene.db[scene.collection].aggregate(
            [{"$match": scene.query}, {"$group": {"_id": "$files_id"}}], allowDiskUse=True
        )
        files = {one["_id"] for one in groups}
        missing = files - _known(scene.db, scene.collection.removesuffix(".chunks") + ".files", "_id", files)
        for part in in_batches(missing, IDS):
            for one in _find(scene, {"files_id": {"$in": part}}, {"_id": 1}):
                made = getattr(one["_id"], "generation_time", None)
                if made is None or made <= scene.settled:
                    yield one["_id"]

    def cured(self, document: Json, scene: Scene) -> Aside:
        """Set it aside."""
        return Aside("its file does not exist")
