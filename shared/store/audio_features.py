"""The `audio_features` collection: one document per user and track, under the names that clients already use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from shared.clock import now
from shared.ladder import Answer, Merged, known_values
from shared.model import Db, Json
from shared.periods import Period
from shared.providers import FIELDS, Provider
from shared.store.contents import Content
from shared.store.merging import insert_or_update

COLLECTION = "audio_features"
PROVIDERS = frozenset(Provider)
USERS = "users"
PROFILED = {"danceability": 3, "energy": 3, "valence": 3, "tempo": 1}
"""What a profile averages, and to how many decimals."""
NEWEST = 10_000
"""So many tracks of one user are looked at by an analysis."""
AVERAGED = ("danceability", "energy", "valence", "acousticness", "instrumentalness", "speechiness", "tempo", "loudness")


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING)], unique=True),
            IndexModel([("userId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("path", ASCENDING)]),
            IndexModel("trackId"),
            IndexModel("updatedAt"),
            IndexModel([("createdAt", DESCENDING)]),
        ]
    )
    db[USERS].create_indexes([IndexModel("userId", unique=True)])


def upsert(db: Db, user_id: str, tracks: Sequence[tuple[str, str, Content]]) -> None:
    """Merge (trackId, path, content) of one user; a repeat changes nothing but `updatedAt`.

    What the audio does not say stays as others have said it.
    """
    if not tracks:
        return
    before = find_tracks(db, user_id, [track_id for track_id, _, _ in tracks])
    updates = [_upsert_one(user_id, *track, before.get(track[0], {})) for track in tracks]
    db[COLLECTION].bulk_write(updates, ordered=False)


def _upsert_one(user_id: str, track_id: str, path: str, content: Content, before: Json) -> UpdateOne:
    moment = now()
    changes: Json = {**_beside_others(to_fields(content), before), "path": path, "updatedAt": moment}
    query = {"userId": user_id, "trackId": track_id}
    return UpdateOne(query, {"$set": changes, "$setOnInsert": {"createdAt": moment}}, upsert=True)


def _beside_others(fields: Json, before: Json) -> Json:
    """Return the fields of a content, with what others have said where the audio says nothing."""
    kept = {
        name: answer
        for answer in answers_in(before)
        if answer.provider is not Provider.LOCAL
        for name in answer.values
        if fields.get(name) is None
    }
    return {
        **fields,
        **{name: answer.values[name] for name, answer in kept.items()},
        "sources": {**fields["sources"], **{name: answer.provider.value for name, answer in kept.items()}},
        "confidence": {**fields["confidence"], **{name: one.confidence_of(name) for name, one in kept.items()}},
        "reasons": {name: why for name, why in fields["reasons"].items() if name not in kept},
    }


def to_fields(content: Content) -> Json:
    """Return what a track's document says of its content."""
    return {
        **(features := content.features.to_document()),
        **content.extra,
        "sources": {name: Provider.LOCAL.value for name, value in features.items() if value is not None},
        "contentHash": content.content_hash,
        "confidence": content.confidence,
        "reasons": content.reasons,
        "tags": content.tags,
        "warnings": list(content.warnings),
        "provenance": content.provenance.to_document(),
    }


def upsert_merged(
    db: Db,
    user_id: str,
    tracks: Sequence[tuple[str, Merged]],
    *,
    before: Mapping[str, Json] | None = None,
    more: Mapping[str, Json] | None = None,
) -> None:
    """Merge (trackId, features) of one user, field by field, beside whatever else stands there.

    `before` has the documents out of which they were merged, `more` further fields, by track id.
    """
    others, former = more or {}, before or {}
    known = [(track_id, merged) for track_id, merged in tracks if merged.known]
    documents = [{**_merged_document(user_id, *track), **others.get(track[0], {})} for track in known]
    updates = [_upsert_fields(user_id, *track, others.get(track[0], {}), former.get(track[0])) for track in known]
    insert_or_update(db[COLLECTION], documents, updates)


def _merged_document(user_id: str, track_id: str, merged: Merged) -> Json:
    moment = now()
    return {
        "userId": user_id,
        "trackId": track_id,
        **merged.values,
        "sources": dict(merged.sources),
        "confidence": dict(merged.confidence),
        "reasons": dict(merged.reasons),
        "createdAt": moment,
        "updatedAt": moment,
    }


def _upsert_fields(user_id: str, track_id: str, merged: Merged, more: Json, before: Json | None) -> UpdateOne:
    moment = now()
    known = {name: merged.values[name] for name in merged.sources}
    # Null takes the place only of what was no value: somebody else may have stored one by now.
    cleared = [name for name in merged.reasons if before is not None and before.get(name, "missing") is not None]
    changes: Json = {**known, **dict.fromkeys(cleared), **more, "updatedAt": moment}
    for part, values in (("sources", merged.sources), ("confidence", merged.confidence), ("reasons", merged.reasons)):
        changes |= {f"{part}.{name}": value for name, value in values.items()}
    gone = {f"reasons.{name}": "" for name in merged.sources}
    gone |= {f"{part}.{name}": "" for part in ("sources", "confidence") for name in cleared}
    update = {"$set": changes, "$setOnInsert": {"createdAt": moment}, "$unset": gone}
    return UpdateOne({"userId": user_id, "trackId": track_id}, update, upsert=True)


def answers_in(track: Json) -> list[Answer]:
    """Return what a document says, by who said it; what clients have written does not tell that."""
    values = known_values(track)
    providers = list(dict.fromkeys(_source(track, name) for name in values))
    confidence = {name: float(sure) for name, sure in (track.get("confidence") or {}).items() if name in FIELDS}
    reasons = {name: str(why) for name, why in (track.get("reasons") or {}).items() if name in FIELDS}
    return [
        Answer(
            provider=provider,
            values={name: value for name, value in values.items() if _source(track, name) is provider},
            confidence=confidence,
            reasons=reasons if provider is Provider.LOCAL else {},
        )
        for provider in providers
    ]


def _source(track: Json, name: str) -> Provider:
    """Return who said a value: as it is noted, or our audio where the document is of one."""
    noted = track.get("sources")
    if isinstance(noted, dict) and name in noted:
        said = noted[name]
        return Provider(said) if isinstance(said, str) and said in PROVIDERS else Provider.CLIENT
    return Provider.LOCAL if track.get("contentHash") else Provider.CLIENT


def without_spotify(track: Json) -> Json:
    """Return a document without the values that came from Spotify, whose terms keep them out of every model.

    Those of which nobody says whence they came are left out, too: clients have them from Spotify.
    """
    theirs = (Provider.SPOTIFY, Provider.CLIENT)
    return {name: None if name in FIELDS and _source(track, name) in theirs else value for name, value in track.items()}


def find_track(db: Db, user_id: str, track_id: str) -> Json | None:
    """Return one user's features of a track, or None."""
    return db[COLLECTION].find_one({"userId": user_id, "trackId": track_id}, {"_id": 0})


def find_tracks(db: Db, user_id: str, track_ids: Sequence[str]) -> dict[str, Json]:
    """Return one user's features by track id, as far as they exist."""
    found = db[COLLECTION].find({"userId": user_id, "trackId": {"$in": list(track_ids)}}, {"_id": 0})
    return {document["trackId"]: document for document in found}


def find_states(db: Db, user_id: str, track_ids: Sequence[str]) -> list[Json]:
    """Return the bare features of one user's tracks, and when they were merged last, as far as they exist."""
    projection = {"_id": 0, "updatedAt": 1, **dict.fromkeys(FIELDS, 1)}
    return list(db[COLLECTION].find({"userId": user_id, "trackId": {"$in": list(track_ids)}}, projection))


def find_track_ids(db: Db, user_id: str, prefix: str, *, limit: int) -> list[str]:
    """Return the first ids of one user's tracks that begin with `prefix`, in their order."""
    query = {"userId": user_id, "trackId": {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}}
    found = db[COLLECTION].find(query, {"_id": 0, "trackId": 1}).sort("trackId", ASCENDING)
    return [document["trackId"] for document in found.limit(limit)]


def iterate_keys(
    db: Db, *, since: datetime | None = None, after: tuple[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield (userId, trackId) of all tracks, or of those that have changed since, in their order behind one.

    Whatever is no text is no id.
    """
    query: Json = {} if since is None else {"updatedAt": {"$gte": since}}
    if since is None and after is not None:
        query["userId"] = {"$gte": after[0]}
    projection = {"_id": 0, "userId": 1, "trackId": 1}
    for document in db[COLLECTION].find(query, projection).sort([("userId", ASCENDING), ("trackId", ASCENDING)]):
        user_id, track_id = document.get("userId"), document.get("trackId")
        if not (isinstance(user_id, str) and isinstance(track_id, str)):
            continue
        if after is None or (user_id, track_id) > after:
            yield user_id, track_id


def find_keys_of(db: Db, track_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return (userId, trackId) of these tracks, of whichever users have them."""
    found = db[COLLECTION].find({"trackId": {"$in": list(track_ids)}}, {"_id": 0, "userId": 1, "trackId": 1})
    return [(document["userId"], document["trackId"]) for document in found]


def number(name: str) -> Json:
    """Return the expression for a feature whose mean is asked for: one NaN would make it that of all."""
    return {"$cond": [{"$eq": [f"${name}", math.nan]}, None, f"${name}"]}


def averages(db: Db, user_id: str) -> Mapping[str, float | int | None]:
    """Return the number of one user's tracks (`tracks`) and the mean of each averaged feature."""
    means: Json = {name: {"$avg": number(name)} for name in AVERAGED}
    stages = [{"$match": {"userId": user_id}}, {"$group": {"_id": None, "tracks": {"$sum": 1}, **means}}]
    group = next(iter(db[COLLECTION].aggregate(stages)), None) or {"tracks": 0}
    return {name: group.get(name) for name in ("tracks", *AVERAGED)}


def touch_user(db: Db, user_id: str) -> Json | None:
    """Set `lastProcessed` of a user and return their `audioFeaturesSummary`, or None where there is none."""
    found = db[USERS].find_one_and_update({"userId": user_id}, {"$set": {"lastProcessed": now()}})
    return found and found.get("audioFeaturesSummary")


def save_user_summary(db: Db, user_id: str, summary: Json) -> None:
    """Set `audioFeaturesSummary` and `lastProcessed` of a user, who is created where missing."""
    moment = now()
    changes = {"audioFeaturesSummary": summary, "lastProcessed": moment}
    insert = {"$set": changes, "$setOnInsert": {"createdAt": moment}}
    db[USERS].update_one({"userId": user_id}, insert, upsert=True)


def profile(db: Db, period: Period) -> Json:
    """Return the features that came in a period: users, tracks, and their means."""
    means: Json = {name: {"$avg": number(name)} for name in PROFILED}
    window = {"$match": period.matches("createdAt")}
    group = next(iter(db[COLLECTION].aggregate([window, {"$group": {"_id": None, "n": {"$sum": 1}, **means}}])), {})
    users = next(iter(db[COLLECTION].aggregate([window, {"$group": {"_id": "$userId"}}, {"$count": "n"}])), {"n": 0})
    return {
        "uniqueUsers": users["n"],
        "totalTracks": group.get("n", 0),
        "audioProfile": {name: rounded(group.get(name), digits) for name, digits in PROFILED.items()},
    }


def rounded(value: float | None, digits: int) -> float | None:
    """Return a mean as it is shown; None where there was nothing to average."""
    return None if value is None else round(value, digits)


def newest(db: Db, user_id: str, group: Sequence[Json]) -> list[Json]:
    """Return what stages make of a user's newest tracks, up to `NEWEST` of them."""
    stages: list[Json] = [{"$match": {"userId": user_id}}, {"$sort": {"createdAt": -1}}, {"$limit": NEWEST}]
    return list(db[COLLECTION].aggregate([*stages, *group]))


def count_and_newest(db: Db, user_id: str) -> tuple[int, datetime | None]:
    """Return how many tracks a user has features of, and when the last of them changed."""
    sums = {"n": {"$sum": 1}, "at": {"$max": "$updatedAt"}}
    group = next(
        iter(db[COLLECTION].aggregate([{"$match": {"userId": user_id}}, {"$group": {"_id": None, **sums}}])), {}
    )
    return int(group.get("n", 0)), group.get("at")
