"""Collections of made-up tracks: generated, never recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.fixture(scope="package")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Tracks:
    """Three thousand tracks in a dozen groups."""
    return published(tmp_path_factory.mktemp("tracks"), made_tracks(3000))
