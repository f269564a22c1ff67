"""Collections of made-up tracks and series, as snapshots: generated, never recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import indexes
from shared.store.indexes import IndexPointer, Published
from workers.indexing.stores import store_in
from workers.taste.collection import Collection
from workers.vectors.schema import Entry, Field, Kind, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot

Floats = NDArray[np.float32]

DIMENSIONS = 106
NUMBERS = ("tempo", "key", "mode", "energy", "valence", "danceability", "acousticness", "instrumentalness")
TRACKS = Schema(
    spaces={"audio": Space(dimensions=DIMENSIONS, is_standardised=True)},
    columns={
        **dict.fromkeys(("user", "track", "tags", "artists"), Kind.LABELS),
        **dict.fromkeys((*NUMBERS, "speechiness", "loudness", "duration"), Kind.NUMBER),
    },
    fields={"title": Field(weight=3, corrects_typos=True), "artists": Field(weight=2), "tags": Field(weight=1)},
)


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """A published snapshot and what was put into it."""

    snapshot: Snapshot
    entries: Mapping[str, Entry]


def made_tracks(count: int, *, artists: int = 400, groups: int = 12, seed: int = 1) -> list[Entry]:
    """Return tracks in groups that sound alike; the n-th is of the group n modulo `groups`."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((groups, DIMENSIONS))
    return [_made(chance, centres, number, artists) for number in range(count)]


def _made(chance: np.random.Generator, centres: NDArray[np.float64], number: int, artists: int) -> Entry:
    track = f"track-{number:05d}"
    vector = centres[number % len(centres)] + 0.6 * chance.standard_normal(DIMENSIONS)
    return made_track(
        track,
        vector.astype(np.float32),
        artists=(f"Artist {chance.integers(artists)}",),
        tempo=float(chance.uniform(70, 180)),
        key=float(chance.integers(12)),
        mode=float(chance.integers(2)),
        energy=float(chance.random()),
    )


def made_track(
    track: str,
    vector: Floats,
    *,
    user: str = "ada",
    title: str | None = None,
    artists: Sequence[str] = (),
    **numbers: float,
) -> Entry:
    return Entry(
        id=f"{user}\n{track}",
        vectors={"audio": vector},
        texts={"title": [title or f"Song {track}"], "artists": artists},
        attributes={"user": user, "track": track, "artists": artists, **numbers},
    )


def published(folder: Path, entries: Sequence[Entry], schema: Schema = TRACKS) -> Tracks:
    with Shelf(folder).building(schema) as build:
        for entry in entries:
            build.put(entry)
        name = build.publish()
    return Tracks(snapshot=Shelf(folder).open(name), entries={entry.id: entry for entry in entries})


# A catalogue of series

TEXT_DIMENSIONS = 64
CATALOGUE = Schema(
    spaces={"text": Space(dimensions=TEXT_DIMENSIONS)},
    columns={
        **dict.fromkeys(("type", "status", "season", "tags", "studios", "artists", "catalogue", "form"), Kind.LABELS),
        **dict.fromkeys(("year", "episodes", "score", "quality", "duration"), Kind.NUMBER),
    },
    fields={"title": Field(weight=3, corrects_typos=True), "tags": Field(weight=1)},
)
GENRES = tuple(f"genre {number}" for number in range(12))


def made_series(count: int, *, seed: int = 1, spread: float = 0.9) -> list[Entry]:
    """Return series of a dozen genres; the n-th is of the genre n modulo 12, and of what others have too."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((len(GENRES), TEXT_DIMENSIONS))
    return [
        made_one(
            number,
            (centres[number % len(GENRES)] + spread * chance.standard_normal(TEXT_DIMENSIONS)).astype(np.float32),
            tags=(GENRES[number % len(GENRES)], *(f"theme {one}" for one in set(chance.integers(0, 40, 2).tolist()))),
            score=round(float(chance.uniform(3, 9)), 2),
        )
        for number in range(count)
    ]


def made_one(number: int, vector: Floats, *, tags: Sequence[str], **numbers: float) -> Entry:
    return Entry(
        id=f"mal-{number}",
        vectors={"text": vector},
        texts={"title": [f"Series {number}"], "tags": tags},
        attributes={"tags": tags, "form": "anime", **numbers},
    )


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A published snapshot as recommendations see it, and what was put into it."""

    collection: Collection
    entries: Mapping[str, Entry]


def publish_index(
    db: Db, settings: Settings, name: str, entries: Sequence[Entry], *, schema: Schema, owner: str = DEFAULT_OWNER
) -> str:
    """Publish a snapshot and have the owner's pointer name it, as a job vector_index does; return its name."""
    with store_in(settings, owner, name).building(schema) as build:
        for entry in entries:
            build.put(entry)
        snapshot = build.publish()
    moment = now()
    new = Published(snapshot=snapshot, entries=len(entries), bytes=0, watermark=moment, built_at=moment)
    assert indexes.swing(db, IndexPointer.following(indexes.find(db, owner, name), new, owner=owner, name=name))
    return snapshot
