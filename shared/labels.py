"""What a track is called by its features, as expressions of MongoDB: its mood, its quadrant, its genres."""

from __future__ import annotations

from shared.model import Json

MOODS = ("party", "intense", "calm", "melancholic", "balanced", "unknown")
QUADRANTS = ("happy", "tense", "relaxed", "sad", "unknown")
HAPPY = 0.5
"""Where the quadrants of valence and energy meet (Russell's circumplex, 1980, with energy for arousal)."""
TAG_LEAST = 0.2
"""A tag that a model hears less clearly is no genre of the track."""
GENRE_TAGS = (
    *(
        "ambient",
        "blues",
        "choral",
        "classic",
        "classical",
        "country",
        "dance",
        "electronic",
        "folk",
        "funk",
        "hip hop",
    ),
    *("house", "indian", "indie", "jazz", "latin", "metal", "new age", "opera", "pop", "punk", "rap", "reggae", "rnb"),
    *("rock", "soul", "techno", "world"),
)
"""The tags that are genres, among those that a tagging model knows."""


def mood_of(valence: str, energy: str) -> Json:
    """Return the expression that names a mood by the clients' rules, `balanced` where none applies."""
    rules = {
        "party": [{"$gt": [energy, 0.7]}, {"$gt": [valence, 0.7]}],
        "melancholic": [{"$lt": [energy, 0.4]}, {"$lt": [valence, 0.4]}],
        "intense": [{"$gt": [energy, 0.6]}, {"$lt": [valence, 0.4]}],
        "calm": [{"$lt": [energy, 0.5]}, {"$gt": [valence, 0.6]}],
    }
    branches = [{"case": {"$and": parts}, "then": name} for name, parts in rules.items()]
    return {"$switch": {"branches": branches, "default": "balanced"}}


def are_shares(*fields: str) -> Json:
    """Return the expression for whether all of these are numbers from 0 to 1: NaN is none, and spoils every sum."""
    bounds = [part for field in fields for part in ({"$isNumber": field}, {"$gte": [field, 0]}, {"$lte": [field, 1]})]
    return {"$and": bounds}


def quadrant_of(valence: str, energy: str) -> Json:
    """Return the expression that names the quadrant of a track that is known."""
    is_lively: Json = {"$gte": [energy, HAPPY]}
    happy: Json = {"$cond": [is_lively, "happy", "relaxed"]}
    sad: Json = {"$cond": [is_lively, "tense", "sad"]}
    return {"$cond": [{"$gte": [valence, HAPPY]}, happy, sad]}


def genres_of_features() -> Json:
    """Return the expression for a track's genres: those that it names, else the tags that are genres."""
    tags = {
        "$filter": {
            "input": {"$objectToArray": {"$cond": [{"$eq": [{"$type": "$tags"}, "object"]}, "$tags", {}]}},
            "as": "tag",
            "cond": {"$and": [{"$in": ["$$tag.k", list(GENRE_TAGS)]}, {"$gte": ["$$tag.v", TAG_LEAST]}]},
        }
    }
    heard = {"$map": {"input": tags, "as": "tag", "in": "$$tag.k"}}
    return {"$cond": [{"$isArray": "$genres"}, "$genres", heard]}
