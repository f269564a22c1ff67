"""An entry says the same however it was written; what it can't say right is left out, and what is wrong is named."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.catalogue_data import SITES, entries, tracks
from workers.catalogue.entry import Entry
from workers.catalogue.errors import EntryFault
from workers.catalogue.formats import Form
from workers.catalogue.identity import best_first, candidates, canonical, ids_of
from workers.catalogue.normalise import Read, read
from workers.catalogue.quality import ANIME, TRACK, quality

ANIDB, KITSU = "https://anidb.net/anime/1", "https://kitsu.app/anime/2"
BASE: dict[str, Any] = {"sources": [ANIDB], "title": "A title"}
TRACK_BASE: dict[str, Any] = {"title": "A title", "artists": ["Somebody"]}
THIS_YEAR = datetime.now(UTC).year


def anime(**fields: Any) -> Read:
    return read(json.dumps({**BASE, **fields}).encode(), Form.ANIME)


def track(**fields: Any) -> Read:
    return read(json.dumps({**TRACK_BASE, **fields}).encode(), Form.TRACKS)


@pytest.mark.parametrize(
    ("field", "raw", "name", "value", "warning"),
    [
        ("title", "  Two \t\n words ", "title", "Two words", None),
        ("title", "e\u0301", "title", "\u00e9", None),
        ("title", "a\x00b\x07c", "title", "a b c", None),
        ("title", "x" * 1200, "title", "x" * 1000, "long_title"),
        ("type", "tv", "type", "TV", None),
        ("type", "MUSICAL", "type", "UNKNOWN", "unknown_type"),
        ("type", None, "type", "UNKNOWN", None),
        ("status", "finished", "status", "FINISHED", None),
        ("status", "LOST", "status", "UNKNOWN", "unknown_status"),
        ("episodes", 12, "episodes", 12, None),
        ("episodes", 12.0, "episodes", 12, None),
        ("episodes", -1, "episodes", None, "bad_episodes"),
        ("episodes", 1.5, "episodes", None, "bad_episodes"),
        ("episodes", 1e300, "episodes", None, "bad_episodes"),
        ("animeSeason", {"season": "FALL", "year": 2006}, "season", "FALL", None),
        ("animeSeason", {"season": "UNDEFINED"}, "season", None, None),
        ("animeSeason", {"season": "AUTUMN"}, "season", None, "unknown_season"),
        ("animeSeason", {"season": "FALL", "year": 1899}, "year", None, "bad_year"),
        ("animeSeason", {"year": 1900}, "year", 1900, None),
        ("animeSeason", {"year": THIS_YEAR + 10}, "year", THIS_YEAR + 10, None),
        ("animeSeason", {"year": THIS_YEAR + 12}, "year", None, "bad_year"),
        ("animeSeason", None, "year", None, None),
        ("duration", {"value": 1380, "unit": "SECONDS"}, "duration_seconds", 1380, None),
        ("duration", {"value": 23, "unit": "MINUTES"}, "duration_seconds", 1380, None),
        ("duration", {"value": 23, "unit": "FORTNIGHTS"}, "duration_seconds", None, "unknown_duration"),
        ("duration", {"value": -1, "unit": "SECONDS"}, "duration_seconds", None, "bad_duration"),
        ("duration", {"value": 0, "unit": "SECONDS"}, "duration_seconds", None, None),
        ("duration", 1380, "duration_seconds", 1380, None),
        ("score", {"arithmeticGeometricMean": 8.6316, "arithmeticMean": 1, "median": 2}, "score", 8.63, None),
        ("score", {"median": 7}, "score", 7.0, None),
        ("score", {}, "score", None, None),
        ("score", 7.255, "score", 7.25, None),
        ("score", 11, "score", None, "bad_score"),
        ("picture", "https://example.org/a b.jpg", "picture", "https://example.org/a b.jpg", None),
        ("picture", "javascript:alert(1)", "picture", None, "bad_picture"),
        ("synonyms", ["A title", "Other", "OTHER", " other ", ""], "synonyms", ("Other",), None),
        ("tags", ["Drama", "drama", "Sci Fi"], "tags", ("drama", "sci fi"), None),
        ("relatedAnime", ["https://kitsu.io/anime/2/", "no"], "related", (KITSU,), "bad_relatedAnime"),
        ("sources", ["http://www.AniDB.net/anime/1#x", ANIDB], "sources", (ANIDB,), None),
        ("sources", [ANIDB, "ftp://x.org"], "sources", (ANIDB,), "bad_sources"),
    ],
)
def test_a_field_is_put_right(field: str, raw: Any, name: str, value: Any, warning: str | None) -> None:
    found = anime(**{field: raw})

    assert getattr(found.entry, name) == value
    assert list(found.warnings) == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("payload", "code", "said"),
    [
        (b"{", "bad_json", "no JSON"),
        (b'{"title": NaN}', "bad_json", "NaN"),
        (b"[" * 100_000, "bad_json", "no JSON"),
        (b"[]", "wrong_type", "'entry'"),
        (b'{"title":"caf\xe9"}', "wrong_encoding", "no UTF-8"),
        (json.dumps({**BASE, "title": "\ud800"}).encode(), "wrong_encoding", "'title'"),
        (b"!too_large 123456", "too_large", "123,456"),
        (json.dumps({"title": "x"}).encode(), "no_sources", "'sources'"),
        (json.dumps({**BASE, "sources": ["x"]}).encode(), "no_sources", "'sources'"),
        (json.dumps({**BASE, "sources": "https://anidb.net/anime/1"}).encode(), "wrong_type", "'sources'"),
        (json.dumps({**BASE, "title": " "}).encode(), "no_title", "'title'"),
        (json.dumps({**BASE, "title": 7}).encode(), "wrong_type", "'title'"),
        (json.dumps({**BASE, "tags": "drama"}).encode(), "wrong_type", "'tags'"),
        (json.dumps({**BASE, "tags": ["drama", 3]}).encode(), "wrong_type", "'tags'"),
        (json.dumps({**BASE, "episodes": True}).encode(), "wrong_type", "'episodes'"),
        (json.dumps({**BASE, "episodes": "many"}).encode(), "wrong_type", "'episodes'"),
        (json.dumps({**BASE, "animeSeason": []}).encode(), "wrong_type", "'animeSeason'"),
    ],
)
def test_what_cannot_be_used_is_named(payload: bytes, code: str, said: str) -> None:
    with pytest.raises(EntryFault) as caught:
        read(payload, Form.ANIME)

    assert caught.value.code == code
    assert said in caught.value.message


def test_a_fault_tells_which_sources_could_be_read() -> None:
    with pytest.raises(EntryFault) as caught:
        anime(tags="drama")

    assert caught.value.sources == ("https://anidb.net/anime/1",)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"artists": "A; B | A"}, "artists", ("A", "B")),
        ({"artist": "A", "artists": None}, "artists", ()),
        ({"track_id": "abc"}, "track_id", "abc"),
        ({"ID": 17}, "track_id", "17"),
        ({"isrc": "us-rc1-76-07839"}, "isrc", "USRC17607839"),
        ({"isrc": "nonsense"}, "isrc", None),
        ({"duration_ms": 215_500}, "duration_seconds", 216),
        ({"duration": "215.2"}, "duration_seconds", 215),
        ({"year": "1999"}, "year", 1999),
        ({"genres": "Jazz;jazz;Fusion"}, "tags", ("jazz", "fusion")),
        ({"trackId": "abc", "isrc": "USRC17607839"}, "sources", ("urn:isrc:USRC17607839", "urn:track:abc")),
        ({"url": "https://example.org/song"}, "sources", ("https://example.org/song",)),
    ],
)
def test_a_track_is_read_from_a_table_or_from_json(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(track(**fields).entry, name) == value


def test_a_track_of_which_only_names_are_known_has_an_id_of_them() -> None:
    first, second = track().entry, track(title="a TITLE").entry

    assert first.sources == second.sources
    assert next(candidates(first.sources, "tracks")).startswith("track-")


@pytest.mark.parametrize(
    ("address", "one_way"),
    [
        ("https://myanimelist.net/anime/1535", "https://myanimelist.net/anime/1535"),
        ("http://www.MyAnimeList.net/anime/1535/", "https://myanimelist.net/anime/1535"),
        ("//kitsu.io/anime/7?a=1#b", "https://kitsu.app/anime/7"),
        ("https://myanimelist.net/anime/1/Cowboy_Bebop", "https://myanimelist.net/anime/1"),
        ("https://anilist.co/anime/05/Title/", "https://anilist.co/anime/5"),
        ("https://livechart.me/anime/7?a=1", "https://livechart.me/anime/7?a=1"),
        (
            "https://animenewsnetwork.com/encyclopedia/anime.php?id=6592",
            "https://animenewsnetwork.com/encyclopedia/anime.php?id=6592",
        ),
        ("https://host", None),
        ("javascript:alert(1)", None),
        ("https://user@host.org/x", None),
        ("https://a.org/" + "x" * 2100, None),
        ("", None),
    ],
)
def test_an_address_is_written_in_one_way(address: str, one_way: str | None) -> None:
    assert canonical(address) == one_way


def test_ids_are_taken_out_of_sources_and_the_best_comes_first() -> None:
    sources = [SITES[name].format(5) for name in ("anidb", "kitsu", "livechart", "anilist", "myanimelist")]

    assert ids_of(sources) == {"myanimelist": "5", "anilist": "5", "kitsu": "5", "anidb": "5"}
    assert list(candidates(sources, "anime"))[:4] == ["mal-5", "anilist-5", "kitsu-5", "anidb-5"]
    assert best_first(["https://anilist.co/anime/9", "https://anilist.co/anime/10"])[0].endswith("/9")
    assert next(candidates([SITES["livechart"].format(5)], "anime")).startswith("src-")


def test_completeness_is_the_sum_of_the_weights() -> None:
    assert sum(ANIME.values()) == pytest.approx(1)
    assert sum(TRACK.values()) == pytest.approx(1)
    bare = anime().entry
    assert quality(bare) == pytest.approx(ANIME["providers"] / 4)
    with_tags = anime(tags=["a", "b"], type="TV", episodes=3).entry
    assert quality(with_tags) == pytest.approx(
        quality(bare) + ANIME["tags"] * 2 / 5 + ANIME["type"] + ANIME["episodes"]
    )
    full = track(
        trackId="a",
        isrc="USRC17607839",
        album="b",
        tags=list("abcde"),
        year=2000,
        duration=3,
        picture="https://a.org/p",
    )
    assert quality(full.entry) == 1.0


def test_made_up_releases_are_valid_throughout() -> None:
    for made in entries(300, seed=3):
        assert not read(json.dumps(made).encode(), Form.ANIME).warnings
    for made in tracks(100):
        assert not read(json.dumps(made).encode(), Form.TRACKS).warnings


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("sources", "title", "type", "episodes", "status", "animeSeason", "picture", "duration", "score", "synonyms")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(st.sampled_from((*FIELDS, "tags", "artists", "trackId", "isrc", "year")), JSON),
    st.sampled_from(Form),
)
def test_any_json_is_an_entry_or_a_fault(raw: dict[str, Any], form: Form) -> None:
    try:
        found = read(json.dumps({**BASE, **raw}).encode(), form).entry
    except EntryFault:
        return
    assert 0 <= quality(found) <= 1
    assert found.title == unicodedata.normalize("NFC", found.title).strip()
    assert found.sources


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=5)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 3000), st.floats(0, 10))
def test_reading_what_was_read_changes_nothing(
    synonyms: list[str], tags: list[str], episodes: int, score: float
) -> None:
    once = anime(synonyms=synonyms, tags=tags, episodes=episodes, score=score).entry

    again = anime(synonyms=list(once.synonyms), tags=list(once.tags), episodes=once.episodes, score=once.score).entry

    assert again == once
    assert again.content_hash == once.content_hash


@settings(deadline=None)
@given(st.permutations(sorted(SITES)), st.randoms())
def test_neither_the_order_of_sources_nor_their_case_makes_another_entry(names: list[str], chance: Any) -> None:
    sources = [SITES[name].format(7) for name in names]
    shouted = [source.replace("https://", chance.choice(("https://www.", "http://"))) for source in sources]

    assert anime(sources=shouted).entry == anime(sources=sorted(sources)).entry


def test_the_hash_is_of_the_content_alone() -> None:
    first: Entry = anime(tags=["a"]).entry

    assert first.content_hash == anime(tags=[" A "]).entry.content_hash
    assert first.content_hash != anime(tags=["b"]).entry.content_hash
