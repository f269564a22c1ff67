"""Checks on a collection as a whole: duplicates, files that lack pieces, drift, the server's own look at its files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from shared.findings import Severity
from shared.library import COLLECTIONS
from shared.model import Json
from shared.store import audio_features
from workers.database.checks.check import CollectionCheck, Found, Scene

DRIFT_TRACKS = 100
"""So many tracks a version must have before its distributions are compared."""
DRIFT = 0.5
"""From this standardised difference of means on, features are said to have drifted: Cohen's medium effect (1988)."""
NOTE_MAX = 300
"""Characters of what the server says."""
DRIFTING = (*audio_features.AVERAGED, "liveness")


class MissingCollection(CollectionCheck):
    """A collection of the library is not there: somebody has dropped it, or renamed it."""

    id = "missing_collection"
    title = "Collection missing"
    group = "schema"
    severity = Severity.HIGH
    cost = "metadata"
    why = "All that was in it is lost, or stands where nobody looks."
    advice = "Restore it from a backup; the next start of Backline makes it anew, empty and with its indexes."

    def concerns(self, scene: Scene) -> bool:
        """Whether there has to be such a collection, or somebody has asked for one that there is not."""
        return scene.collection in COLLECTIONS or not scene.is_there

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether it is missing."""
        if scene.is_there or scene.collection in COLLECTIONS:
            yield self.tally(scene, int(not scene.is_there))
        else:
            yield self.skipped(scene, "there is no such collection")


class Duplicates(CollectionCheck):
    """Several documents where only one makes sense."""

    id = "duplicate"
    title = "Duplicate"
    group = "integrity"
    severity = Severity.HIGH
    why = "Which of them is read is left to chance, every sum counts them all, and the unique index can't be built."
    repair = (
        "The best is kept: the one with the most fields that have a value, of those the one that was changed last, of"
        " those the one with the lowest id; the others are set aside in the quarantine."
    )

    def concerns(self, scene: Scene) -> bool:
        """Whether there is a key that should be unique."""
        return scene.form is not None and bool(scene.form.unique)

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield how many documents are too many."""
        count = 0
        examples: list[Any] = []
        for key, documents in duplicated(scene):
            count += documents - 1
            if len(examples) < scene.examples_max:
                ids = sorted((one["_id"] for one in scene.db[scene.collection].find(key, {"_id": 1})), key=repr)
                examples += ids[1:]
        yield self.tally(scene, count, examples)


def is_kept_unique(scene: Scene) -> bool:
    """Whether a unique index keeps duplicates out, so that nobody need look for them."""
    names = scene.form.unique if scene.form is not None else ()
    among = scene.form.unique_among if scene.form is not None else {}
    unique = [one for one in scene.indexes if one.get("unique")]
    return any(
        set(one["key"]) == set(names) and one.get("partialFilterExpression") in (None, dict(among)) for one in unique
    )


def duplicated(scene: Scene) -> Iterator[tuple[Json, int]]:
    """Yield each key that several documents have, and how many those are."""
    if is_kept_unique(scene):
        return
    names = scene.form.unique if scene.form is not None else ()
    among = scene.form.unique_among if scene.form is not None else {}
    grouped = {name: f"${name}" for name in names}
    stages: list[Json] = [
        {"$match": {**among, **{name: {"$type": "string"} for name in names}}},
        {"$group": {"_id": grouped, "documents": {"$sum": 1}}},
        {"$match": {"documents": {"$gt": 1}}},
    ]
    for one in scene.db[scene.collection].aggregate(stages, allowDiskUse=True):
        yield {**among, **one["_id"]}, int(one["documents"])


class IncompleteFile(CollectionCheck):
    """A GridFS file that lacks pieces, or has pieces of another length than it says."""

    id = "gridfs_incomplete"
    title = "GridFS file that is not whole"
    group = "integrity"
    severity = Severity.HIGH
    why = "Reading it fails in the middle."
    advice = "Delete it, and make it anew."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are the files of a GridFS bucket."""
        return scene.collection.endswith(".files")

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the files whose pieces don't add up, those of the last hour left out."""
        pieces = scene.collection.removesuffix(".files") + ".chunks"
        sums = {"$group": {"_id": "$files_id", "bytes": {"$sum": {"$binarySize": "$data"}}}}
        held: Mapping[Any, int] = {
            one["_id"]: one["bytes"] for one in scene.db[pieces].aggregate([sums], allowDiskUse=True)
        }
        files = scene.db[scene.collection].find({"uploadDate": {"$not": {"$gt": scene.settled}}}, {"length": 1})
        broken = [one["_id"] for one in files if held.get(one["_id"], 0) != one.get("length")]
        yield self.tally(scene, len(broken), broken)


class Drift(CollectionCheck):
    """The features of two versions of the extractor are distributed differently."""

    id = "drift"
    title = "Features drift between versions of the extractor"
    group = "drift"
    severity = Severity.LOW
    why = "Tracks of different versions can't be compared by these features."
    advice = "Have the older tracks analysed anew, or compare within one version."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are features."""
        return scene.collection == audio_features.COLLECTION

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the features whose means are far apart, and the mean confidence of all."""
        every = _versions(scene)
        versions = [one["_id"] for one in every if isinstance(one["_id"], str) and one["tracks"] >= DRIFT_TRACKS]
        if len(versions) < 2:
            yield self.skipped(scene, f"fewer than two versions have {DRIFT_TRACKS} tracks or more")
        else:
            old, new = _distributions(scene, versions[-2:])
            shifts = {name: shift for name in DRIFTING if (shift := standardised_shift(old, new, name)) >= DRIFT}
            words = ", ".join(f"{name} by {shift:.2f} standard deviations" for name, shift in shifts.items())
            note = f"from {old['_id']} to {new['_id']}: {words}" if shifts else None
            yield self.tally(scene, len(shifts), fields=dict.fromkeys(shifts, 1), note=note)
        stating = sum(one["stating"] for one in every)
        if stating:
            yield round(sum((one["confidence"] or 0.0) * one["stating"] for one in every) / stating, 4)


def _versions(scene: Scene) -> list[Json]:
    """Return each version with its tracks, those that state a confidence, and its mean, the oldest first."""
    states = {"$eq": [{"$type": "$confidence"}, "object"]}
    values = {"$map": {"input": {"$objectToArray": "$confidence"}, "in": "$$this.v"}}
    sums: Json = {
        "_id": "$provenance.version",
        "tracks": {"$sum": 1},
        "stating": {"$sum": {"$cond": [states, 1, 0]}},
        "confidence": {"$avg": {"$cond": [states, {"$avg": values}, None]}},
    }
    found = scene.db[scene.collection].aggregate([{"$group": sums}])
    return sorted(found, key=lambda one: _order(str(one["_id"])))


def _distributions(scene: Scene, versions: Sequence[str]) -> list[Json]:
    """Return the means and deviations of the features of some versions, in their order."""
    sums: Json = {"_id": "$provenance.version"}
    for name in DRIFTING:
        value = audio_features.number(name)
        sums |= {f"{name}Mean": {"$avg": value}, f"{name}Spread": {"$stdDevPop": value}}
    stages: list[Json] = [{"$match": {"provenance.version": {"$in": list(versions)}}}, {"$group": sums}]
    found = {one["_id"]: one for one in scene.db[scene.collection].aggregate(stages)}
    return [found.get(version, {"_id": version}) for version in versions]


def standardised_shift(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> float:
    """Return how far apart two means are, in pooled standard deviations: Cohen's d, without its sign."""
    means = old.get(f"{name}Mean"), new.get(f"{name}Mean")
    if means[0] is None or means[1] is None:
        return 0.0
    pooled = math.sqrt(((old[f"{name}Spread"] or 0.0) ** 2 + (new[f"{name}Spread"] or 0.0) ** 2) / 2)
    gap = abs(float(means[0]) - float(means[1]))
    return gap / pooled if pooled > 0 else (math.inf if gap > 1e-9 else 0.0)


def _order(version: str) -> tuple[tuple[int, ...], str]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit()), version


class ServersValidate(CollectionCheck):
    """The server finds its own files of a collection damaged."""

    id = "server_validate"
    title = "Damaged files"
    group = "integrity"
    severity = Severity.CRITICAL
    why = "Documents are lost, or an index leads astray."
    advice = "Restore the collection from a backup or a healthy replica; then validate again."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield what the command `validate` says, where it was asked for: it may lock the collection."""
        if not scene.deep:
            yield self.skipped(scene, "asked for by `deep` only, for it may lock the collection")
            return
        try:
            said = scene.db.command("validate", scene.collection)
        except OperationFailure as error:
            yield self.skipped(scene, f"the server does not validate it (code {error.code})")
            return
        count, words = damage(said)
        yield self.tally(scene, count, note=words or None)


def damage(said: Mapping[str, Any]) -> tuple[int, str]:
    """Return how many documents, entries of indexes or indexes the command `validate` calls damaged, and its words.

    Documents that the collection's own schema refuses are no damage; another check counts them.
    """
    listed = [
        one for name in ("corruptRecords", "missingIndexEntries", "extraIndexEntries") for one in said.get(name, ())
    ]
    details = said.get("indexDetails", {})
    indexes = [name for name, one in details.items() if not one.get("valid", True)]
    count = int(said.get("nInvalidDocuments", 0)) + len(listed)
    is_damaged = count > 0 or bool(indexes) or not said.get("valid", True)
    if not is_damaged:
        return 0, ""
    words = [*(str(one) for one in said.get("errors", ())), *(f"index {name}" for name in indexes)]
    return max(count, len(indexes), 1), "; ".join(words)[:NOTE_MAX]
