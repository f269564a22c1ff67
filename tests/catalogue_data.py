"""Catalogue data that anybody can make: valid by the public schema, the same for the same seed, any number of it.

Nothing of a real catalogue is in it. What an entry is about is known: its theme decides its tags, and says in other
words what somebody may ask for who does not know them.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

Entry = dict[str, Any]

THEMES: Mapping[tuple[str, ...], str] = {
    ("mecha", "robots", "war"): "giant machines piloted by teenagers",
    ("baseball", "sports", "team"): "players swinging bats in a stadium",
    ("cooking", "food", "restaurant"): "a chef prepares delicious meals",
    ("pirates", "ships", "ocean"): "sailors hunting for treasure at sea",
    ("vampires", "horror", "night"): "undead creatures who drink blood",
    ("detective", "mystery", "police"): "somebody solves murders and crimes",
    ("idols", "music", "stage"): "girls singing in front of a crowd",
    ("space", "aliens", "future"): "travelling between planets and stars",
    ("samurai", "history", "swords"): "warriors with blades in feudal Japan",
    ("romance", "school", "couples"): "two students fall in love in class",
    ("magic", "witches", "fantasy"): "spells cast by young sorcerers",
    ("animals", "pets", "slice of life"): "quiet days with cats and dogs",
}
"""The tags of a theme, and what they mean in other words."""

MORE_TAGS = ("comedy", "drama", "action", "ensemble cast", "male protagonist", "female protagonist", "urban", "present")
STUDIOS = tuple(f"studio {name}" for name in ("aster", "birch", "cedar", "dahlia", "elm", "fern", "ginkgo", "hazel"))
PRODUCERS = tuple(f"{name} pictures" for name in ("amber", "basalt", "copper", "diorite", "ember", "flint"))
ARTISTS = tuple(f"The {name}" for name in ("Alders", "Brooks", "Cascades", "Dunes", "Estuaries", "Fjords", "Glens"))
SYLLABLES = tuple(first + vowel for first in "kstnhmrgzbdpy" for vowel in "aiueo")
KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"

TYPES = ("TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN")
STATUSES = ("FINISHED", "ONGOING", "UPCOMING", "UNKNOWN")
SEASONS = ("SPRING", "SUMMER", "FALL", "WINTER", "UNDEFINED")
SITES = {
    "anidb": "https://anidb.net/anime/{}",
    "anilist": "https://anilist.co/anime/{}",
    "animeplanet": "https://anime-planet.com/anime/made-up-{}",
    "kitsu": "https://kitsu.app/anime/{}",
    "livechart": "https://livechart.me/anime/{}",
    "myanimelist": "https://myanimelist.net/anime/{}",
}
"""The address of an entry at each provider, in the order in which the data set sorts them."""

LICENCE = "Open Data Commons Open Database License (ODbL) v1.0 + Database Contents License (DbCL) v1.0"
REPOSITORY = "https://github.com/manami-project/anime-offline-database"


def entries(count: int, seed: int = 0) -> Iterator[Entry]:
    """Yield `count` anime entries; the n-th has the number n + 1 at every provider that knows it."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        yield entry(number, chance)


def entry(number: int, chance: random.Random) -> Entry:
    """Return one entry as a release has it: what is null is left out."""
    theme = chance.choice(tuple(THEMES))
    title = _name(chance)
    made: Entry = {
        "sources": sources_of(number, _providers(chance)),
        "title": title,
        "type": chance.choices(TYPES, weights=(45, 15, 14, 14, 9, 3))[0],
        "episodes": chance.choice((1, 1, 2, 6, 12, 12, 13, 24, 26, 52)),
        "status": chance.choices(STATUSES, weights=(90, 4, 4, 2))[0],
        "animeSeason": {"season": chance.choice(SEASONS), "year": chance.randint(1963, 2026)},
        "picture": f"https://cdn.myanimelist.net/images/anime/{number % 2000}/{number}.jpg",
        "thumbnail": f"https://cdn.myanimelist.net/images/anime/{number % 2000}/{number}t.jpg",
        "duration": {"value": chance.choice((180, 300, 720, 1380, 1440, 5400)), "unit": "SECONDS"},
        "score": _score(chance),
        "synonyms": sorted({_name(chance) for _ in range(chance.randint(0, 3))} | {_kana(chance)}),
        "studios": sorted(chance.sample(STUDIOS, chance.randint(0, 2))),
        "producers": sorted(chance.sample(PRODUCERS, chance.randint(0, 3))),
        "relatedAnime": sources_of(max(1, number - 1), ("anilist", "myanimelist"))[: chance.randint(0, 2)],
        "tags": sorted({*theme, *chance.sample(MORE_TAGS, chance.randint(0, 4))}),
    }
    for name in ("duration", "score"):
        if chance.random() < 0.1:
            del made[name]
    if chance.random() < 0.05:
        del made["animeSeason"]["year"]
    return made


def sources_of(number: int, providers: Iterable[str]) -> list[str]:
    """Return the addresses of this number at these providers, sorted as the data set sorts them."""
    return sorted(SITES[provider].format(number) for provider in providers)


def theme_of(made: Entry) -> tuple[str, ...]:
    """Return the theme whose tags an entry has."""
    return next(theme for theme in THEMES if set(theme) <= set(made["tags"]))


def _providers(chance: random.Random) -> list[str]:
    shares = {"myanimelist": 0.74, "animeplanet": 0.66, "kitsu": 0.54, "anilist": 0.5, "anidb": 0.35, "livechart": 0.3}
    return [name for name, share in shares.items() if chance.random() < share] or ["anilist"]


def _score(chance: random.Random) -> Entry:
    mean = round(min(max(chance.gauss(6.5, 1.0), 1.0), 10.0), 6)
    return {"arithmeticGeometricMean": mean, "arithmeticMean": mean, "median": round(mean, 2)}


def _name(chance: random.Random) -> str:
    words = ("".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(chance.randint(2, 3)))
    return " ".join(words).title()


def _kana(chance: random.Random) -> str:
    return "".join(chance.choices(KANA, k=6))


def tracks(count: int, seed: int = 0) -> Iterator[Entry]:
    """Yield `count` tracks of music, as a line of JSON has them."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        yield {
            "trackId": f"track{number}",
            "title": _name(chance),
            "artists": chance.sample(ARTISTS, chance.randint(1, 2)),
            "album": _name(chance),
            "isrc": f"ZZAAA26{number % 100_000:05d}",
            "year": chance.randint(1955, 2026),
            "durationSeconds": chance.randint(90, 600),
            "tags": sorted(chance.sample(MORE_TAGS, 2)),
        }


# Files


def metadata(last_update: str) -> Entry:
    """Return what a release says of itself: the first line of JSON Lines, the keys beside `data` of a document."""
    return {
        "$schema": f"{REPOSITORY}/schema.json",
        "license": {"name": LICENCE, "url": f"{REPOSITORY}/LICENSE"},
        "repository": REPOSITORY,
        "scoreRange": {"minInclusive": 1.0, "maxInclusive": 10.0},
        "lastUpdate": last_update,
    }


def write_release(path: Path, data: Iterable[Entry], last_update: str = "2026-11-20") -> Path:
    """Write a release in the form that the file's name says: .json or .jsonl, as it is or .gz or .zst."""
    with opened(path) as file:
        if ".jsonl" in path.suffixes:
            for line in chain((metadata(last_update),), data):
                file.write(_json(line) + b"\n")
        else:
            file.write(_json(metadata(last_update))[:-1] + b',"data":[')
            for number, made in enumerate(data):
                file.write((b"," if number else b"") + _json(made))
            file.write(b"]}")
    return path


def write_tracks(path: Path, data: Iterable[Entry]) -> Path:
    """Write tracks as .jsonl or .csv, as it is or .gz or .zst; lists are joined by semicolons in the latter."""
    with opened(path) as file:
        if ".csv" in path.suffixes:
            rows = [{name: "; ".join(v) if isinstance(v, list) else v for name, v in one.items()} for one in data]
            lines = csv.DictWriter(_Text(file), fieldnames=list(rows[0]))
            lines.writeheader()
            lines.writerows(rows)
        else:
            for one in data:
                file.write(_json(one) + b"\n")
    return path


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written, compressed as its last suffix says."""
    with path.open("wb") as plain:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=plain, mode="wb", mtime=0, compresslevel=1) as packed:
                yield cast(BinaryIO, packed)
        elif path.suffix == ".zst":
            with zstandard.ZstdCompressor(level=3).stream_writer(plain) as packed_zst:
                yield cast(BinaryIO, packed_zst)
        else:
            yield plain


def _json(value: Entry) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class _Text:
    """What the csv module writes to, in UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
