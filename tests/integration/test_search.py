"""Search through the API and a search server with real indexes: each way to look, each filter, each refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from shared.access import DEFAULT_OWNER, Scope
from shared.clock import new_id, now
from shared.jobs.vector_index import join_track_key
from shared.model import Db, Json
from shared.search import REACH
from shared.settings import Settings
from shared.store.database import connect, ensure_indexes
from tests.api_server import problem_of, serving
from tests.environment import environment_of
from tests.holders import client_of, give_key
from tests.machine import Servers
from tests.search_stage import THEMES, Show, Song, publish, serving_search, sound_of, vector_of
from tests.waiting import wait_until

SHOWS = (
    Show(
        id="mal-1",
        title="Cowboy Bebop",
        theme="space",
        synonyms=("Space Cowboys",),
        year=1998,
        episodes=26,
        score=8.8,
        tags=("Space", "Noir", "Adult Cast"),
        studios=("Sunrise",),
        artists=("The Seatbelts",),
    ),
    Show(id="mal-2", title="Planet Rangers", theme="space", year=2003, tags=("space",), type="MOVIE", episodes=1),
    Show(id="mal-3", title="Kitchen of Spring", theme="cooking", year=2016, tags=("Food",), season="FALL"),
    Show(id="mal-4", title="The Last Recipe", theme="cooking", year=None, score=None, episodes=None),
    Show(id="mal-5", title="Goal Keepers", theme="football", status="ONGOING", tags=("Sports", "School")),
    Show(id="mal-6", title="Whispering Attic", theme="ghosts", type="OVA", tags=("Horror", "School")),
    Show(id="mal-7", title="Iron Armada", theme="robots", studios=("SUNRISE",), season="WINTER", catalogue="films"),
    *(
        Show(id=f"src-{n:03d}", title=f"Filler {n}", theme=sorted(THEMES)[n % 5], year=1960 + n, score=n / 10)
        for n in range(60)
    ),
)
# Sequels whose synonyms say the title again, and the first of them, of which the model thinks otherwise.
SERIES = (
    Show(id="mal-1", title="Iron Orbit", theme="cooking", synonyms=("Tetsu no Kidou", "鉄の軌道", "A long way home")),
    *(
        Show(
            id=f"mal-{n}",
            title=f"Iron Orbit {n}",
            theme="space",
            synonyms=("Orbit of Iron", f"Tetsu no Kidou {n}", f"鉄の軌道 {n}"),
        )
        for n in range(2, 6)
    ),
)
SONGS = (
    *(
        Song(
            user="ada",
            id=f"song-{n:02d}",
            title=f"Number {n}",
            sound=n,
            tags=("piano",) if n % 2 else ("guitar", "live"),
            artists=("Odd",) if n % 2 else ("Even",),
            features={
                "tempo": 60.0 + 3 * n,
                "energy": n / 40,
                "key": n % 12,
                "mode": n % 2,
                "valence": 1 - n / 40,
                "loudness": -30.0 + n / 2,
                "duration": 100.0 + n,
            },
        )
        for n in range(40)
    ),
    Song(user="Ada", id="song-03", title="Another Ada's", sound=3),
    Song(user="bob", id="song-03", title="Number 3", sound=3),
    Song(user="bob", id="bobs-own", title="Bob's", sound=4),
    Song(user="cyd", id="album/01 %2F", title="Odd", sound=300),
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A search server and an API on a database of their own, and a client that may search."""

    client: httpx.Client
    db: Db
    settings: Settings

    def search(self, **wanted: Any) -> Json:
        """Search, and return the answer."""
        answer = self.client.post("/api/search", json=wanted)
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    def ids(self, **wanted: Any) -> list[str]:
        """Search, and return what was found."""
        return [hit["itemId"] or hit["trackId"] for hit in self.search(**wanted)["hits"]]


@pytest.fixture(scope="module")
def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    variables = {
        "MONGODB_URI": servers.mongodb_uri,
        "REDIS_URL": servers.redis_url,
        "BACKLINE_MONGODB_DATABASE": new_id("test"),
        "BACKLINE_INDEX_DIR": str(tmp_path_factory.mktemp("indexes")),
    }
    with pytest.MonkeyPatch.context() as patch, environment_of(patch, variables) as settings:
        db = connect(settings)
        with db.client:
            ensure_indexes(db)
            publish(db, settings, [show.entry() for show in SHOWS])
            publish(db, settings, [song.entry() for song in SONGS], name="tracks")
            publish(db, settings, [Show(id="beta-1", title="Cowboy Bebop", theme="space").entry()], owner="beta")
            publish(
                db, settings, [Show(id="old-1", title="Old", theme="space").entry()], owner="old", embedder="former"
            )
            publish(db, settings, [], owner="empty")
            publish(db, settings, [show.entry() for show in SERIES], owner="series")
            with serving_search(settings) as told, serving(told) as client:
                yield World(client=client, db=db, settings=told)
            db.client.drop_database(db.name)


# Ways to look


def test_words_are_found_as_they_are_written_typos_forgiven(world: World) -> None:
    answer = world.search(query="cowbyo bebop", mode="lexical")
    (hit, *_) = answer["hits"]
    assert (hit["itemId"], hit["title"], hit["trackId"], hit["userId"]) == ("mal-1", "Cowboy Bebop", None, None)
    assert list(hit["why"]["parts"]) == ["words"]
    assert {"term": "cowboy", "asked": "cowbyo", "field": "title"} in hit["why"]["matches"]
    assert hit["attributes"]["year"] == 1998
    assert world.ids(query="Seatbelts", mode="lexical") == ["mal-1"]
    assert world.ids(query="xylophone", mode="lexical") == []


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
@pytest.mark.parametrize("asked", ["Iron Orbit", "iron orbt", "Tetsu no Kidou", "鉄の軌道"])
def test_what_is_called_as_is_asked_comes_first(world: World, mode: str, asked: str) -> None:
    with client_of(give_key(world.db, "series"), world.client.base_url) as client:
        hits = client.post("/api/search", json={"query": asked, "mode": mode}).json()["hits"]

    assert hits[0]["itemId"] == "mal-1"
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert ["name" in hit["why"]["parts"] for hit in hits][:2] == [mode == "hybrid", False]


def test_a_description_finds_what_it_means(world: World) -> None:
    answer = world.search(query="the undead haunt an abandoned mansion", mode="semantic", limit=10)
    assert list(answer["hits"][0]["why"]["parts"]) == ["text"]
    themes = {show.id: show.theme for show in SHOWS}
    assert [themes[hit["itemId"]] for hit in answer["hits"]] == ["ghosts"] * 10


def test_hybrid_fuses_both_and_says_so(world: World) -> None:
    hits = world.search(query="bebop bounty hunters")["hits"]
    assert hits[0]["itemId"] == "mal-1"
    assert set(hits[0]["why"]["parts"]) == {"words", "text"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_what_is_like_an_item_leaves_the_item_out(world: World) -> None:
    answer = world.client.get("/api/items/mal-2/similar", params={"limit": 5}).json()
    found = [hit["itemId"] for hit in answer["hits"]]
    themes = {show.id: show.theme for show in SHOWS}
    assert "mal-2" not in found
    assert [themes[one] for one in found] == ["space"] * 5
    assert world.ids(itemId="mal-2", limit=5) == found


def test_an_item_and_words_together_lie_between_both(world: World) -> None:
    found = world.ids(itemId="mal-1", query="robots at war", mode="semantic", limit=30)
    themes = {show.id: show.theme for show in SHOWS}
    assert {"space", "robots"} <= {themes[one] for one in found}
    assert "mal-1" not in found


def test_what_sounds_like_a_track_says_in_which_features(world: World) -> None:
    answer = world.client.get("/api/tracks/song-20/similar", params={"userId": "ada", "limit": 4}).json()
    assert {hit["trackId"] for hit in answer["hits"][:2]} == {"song-19", "song-21"}
    assert {hit["userId"] for hit in answer["hits"]} == {"ada"}
    (first, *_) = answer["hits"]
    assert list(first["why"]["parts"]) == ["audio"]
    assert len(first["why"]["features"]) == 3
    apart = [one["deviations"] for one in first["why"]["features"]]
    assert apart == sorted(apart)
    assert {"feature", "value", "wanted", "deviations"} == set(first["why"]["features"][0])


def test_a_track_of_no_named_user_is_looked_up_among_all(world: World) -> None:
    hits = world.client.get("/api/tracks/bobs-own/similar", params={"limit": 5}).json()["hits"]
    assert {"ada"} <= {hit["userId"] for hit in hits}
    assert "bobs-own" not in {hit["trackId"] for hit in hits}


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_user_s_tracks_are_nobody_else_s(world: World, limit: int) -> None:
    for user, count in (("ada", 40), ("Ada", 1), ("bob", 2), ("nobody", 0)):
        wanted: Json = {"index": "tracks", "query": "number", "userId": user, "limit": limit}
        pages = [world.search(**wanted)]
        while pages[-1]["nextCursor"]:
            pages.append(world.search(**wanted, cursor=pages[-1]["nextCursor"]))
        assert [hit["userId"] for page in pages for hit in page["hits"]] == [user] * count
        assert all(len(page["hits"]) == limit for page in pages[:-1])


def test_an_item_is_known_by_the_id_that_it_had_and_by_those_of_other_sites(world: World) -> None:
    page = "https://myanimelist.net/anime/"
    stored: list[Any] = [
        {"_id": "mal-2", "sources": [f"{page}2", f"{page}20", "https://anilist.co/anime/200"], "removedAt": None},
        {"_id": "mal-20", "sources": [f"{page}20", "https://kitsu.app/anime/9"], "removedAt": now()},  # it is in mal-2
        {"_id": "mal-30", "sources": [f"{page}30"], "removedAt": now()},
    ]
    world.db["catalogue"].insert_many(stored)

    own = world.client.get("/api/items/mal-2/similar", params={"limit": 3}).json()
    for name in ("mal-20", "anilist-200"):
        others = world.client.get(f"/api/items/{name}/similar", params={"limit": 3}).json()
        assert [hit["itemId"] for hit in others["hits"]] == [hit["itemId"] for hit in own["hits"]]
        behind = world.client.get(f"/api/items/{name}/similar", params={"limit": 3, "cursor": others["nextCursor"]})
        assert behind.status_code == 200, behind.text
        assert world.ids(itemId=name, limit=3) == world.ids(itemId="mal-2", limit=3)
    for name in ("mal-30", "kitsu-9", "anilist-0", "anilist-nine"):
        problem_of(world.client.get(f"/api/items/{name}/similar"), 404, "entry_not_found")


def test_a_track_is_not_similar_to_itself_whoever_has_it(world: World) -> None:
    hits = world.client.get("/api/tracks/song-03/similar", params={"limit": 50}).json()["hits"]
    assert "song-03" not in {hit["trackId"] for hit in hits}


def test_an_id_may_have_any_characters(world: World) -> None:
    answer = world.client.get(f"/api/tracks/{quote('album/01 %2F', safe='')}/similar", params={"limit": 1})
    assert (answer.status_code, len(answer.json()["hits"])) == (200, 1)


@pytest.mark.parametrize(
    ("targets", "nearest"),
    [({"energy": 100}, "song-39"), ({"duration": 139_000}, "song-39"), ({"energy": -100}, "song-00")],
)
def test_what_is_nearest_to_a_target_beyond_all_there_is_comes_first(world: World, targets: Json, nearest: str) -> None:
    (hit,) = world.search(index="tracks", targets=targets, limit=1)["hits"]
    assert (hit["trackId"], hit["score"] > 0) == (nearest, True)


def test_a_playlist_of_one_s_own_has_nobody_else_s(world: World) -> None:
    for user in ("Ada", "bob"):
        wanted = {"userId": user, "seeds": ["song-03"], "length": 30, "ownOnly": True}
        answer = world.client.post("/api/playlists/build", json=wanted).json()
        assert {track["userId"] for track in answer["tracks"]} == {user}


def test_wished_for_features_rank_tracks(world: World) -> None:
    hits = world.search(index="tracks", targets={"tempo": 120, "energy": 0.5}, userId="ada", limit=3)["hits"]
    assert hits[0]["trackId"] == "song-20"
    assert hits[0]["score"] == pytest.approx(1.0)
    assert list(hits[0]["why"]["parts"]) == ["features"]
    assert {one["feature"] for one in hits[1]["why"]["features"]} == {"tempo", "energy"}


def test_words_sound_and_features_go_together(world: World) -> None:
    answer = world.search(
        index="tracks", query="number 7", trackId="song-05", targets={"energy": 0.2}, userId="ada", limit=10
    )
    parts = {part for hit in answer["hits"] for part in hit["why"]["parts"]}
    assert parts == {"words", "name", "text", "audio", "features"}


def test_a_vector_of_one_s_own_is_a_way_to_look(world: World) -> None:
    near = [float(value) for value in vector_of(THEMES["robots"])]
    themes = {show.id: show.theme for show in SHOWS}
    assert {themes[one] for one in world.ids(vector=near, limit=5)} == {"robots"}
    sound = [float(value) for value in sound_of(12)]
    assert world.ids(index="tracks", vector=sound, userId="ada", limit=1) == ["song-12"]


# Filters

Meets = Callable[[Show], bool]
SHOW_FILTERS: Mapping[str, tuple[Json, Meets]] = {
    "types": ({"types": ["movie", "OVA"]}, lambda one: one.type in ("MOVIE", "OVA")),
    "status": ({"status": ["ONGOING"]}, lambda one: one.status == "ONGOING"),
    "seasons": ({"seasons": ["WINTER", "FALL"]}, lambda one: one.season in ("WINTER", "FALL")),
    "years": ({"year": {"min": 1990, "max": 2003}}, lambda one: one.year is not None and 1990 <= one.year <= 2003),
    "since": ({"year": {"min": 2003}}, lambda one: one.year is not None and one.year >= 2003),
    "episodes": ({"episodes": {"max": 1}}, lambda one: one.episodes == 1),
    "score": ({"score": {"min": 5.5}}, lambda one: one.score is not None and one.score >= 5.5),
    "any-tag": ({"tags": {"any": ["noir", "FOOD"]}}, lambda one: bool({"Noir", "Food"} & set(one.tags))),
    "all-tags": ({"tags": {"all": ["school", "sports"]}}, lambda one: {"School", "Sports"} <= set(one.tags)),
    "no-tag": ({"tags": {"none": ["space"]}}, lambda one: not {"space", "Space"} & set(one.tags)),
    "studios": ({"studios": ["sunrise"]}, lambda one: "sunrise" in {name.lower() for name in one.studios}),
    "artists": ({"artists": ["The Seatbelts"]}, lambda one: "The Seatbelts" in one.artists),
    "catalogue": ({"catalogue": "films"}, lambda one: one.catalogue == "films"),
    "two": ({"types": ["TV"], "year": {"max": 1970}}, lambda one: one.type == "TV" and (one.year or 9999) <= 1970),
}


@pytest.mark.parametrize("name", SHOW_FILTERS)
def test_a_filter_lets_through_what_meets_it_and_nothing_else(world: World, name: str) -> None:
    filters, meets = SHOW_FILTERS[name]
    expected = {show.id for show in SHOWS if meets(show)}
    assert 0 < len(expected) < len(SHOWS)
    assert set(world.ids(query="a story", mode="semantic", filters=filters, limit=100)) == expected


MeetsTrack = Callable[[Song], bool]
SONG_FILTERS: Mapping[str, tuple[Json, MeetsTrack]] = {
    "tempo": ({"tempo": {"min": 90, "max": 120}}, lambda one: 90 <= one.features.get("tempo", 0) <= 120),
    "energy": ({"energy": {"max": 0.25}}, lambda one: one.features.get("energy", 1) <= 0.25),
    "valence": ({"valence": {"min": 0.9}}, lambda one: one.features.get("valence", 0) >= 0.9),
    "loudness": ({"loudness": {"min": -15}}, lambda one: one.features.get("loudness", -99) >= -15),
    "duration": ({"duration": {"max": 110}}, lambda one: one.features.get("duration", 999) <= 110),
    "key": ({"key": [0, 7]}, lambda one: one.features.get("key") in (0, 7)),
    "mode": ({"mode": "minor"}, lambda one: one.features.get("mode") == 0),
    "tags": ({"tags": {"all": ["guitar"], "none": ["piano"]}}, lambda one: "guitar" in one.tags),
    "artists": ({"artists": ["odd"]}, lambda one: one.artists == ("Odd",)),
}


@pytest.mark.parametrize("name", SONG_FILTERS)
def test_a_filter_of_tracks_does_so_too(world: World, name: str) -> None:
    filters, meets = SONG_FILTERS[name]
    expected = {join_track_key(song.user, song.id) for song in SONGS if meets(song)}
    assert 0 < len(expected) < len(SONGS)
    hits = world.search(index="tracks", query="a song", mode="semantic", filters=filters, limit=100)["hits"]
    assert {join_track_key(hit["userId"], hit["trackId"]) for hit in hits} == expected


# Pages


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
def test_pages_hold_each_hit_once_in_the_order_of_the_whole(world: World, mode: str) -> None:
    wanted = {"query": "filler story of space", "mode": mode}
    whole = world.ids(**wanted, limit=100)
    pages: list[str] = []
    cursor = None
    while True:
        page = world.search(**wanted, limit=7, **({"cursor": cursor} if cursor else {}))
        pages += [hit["itemId"] for hit in page["hits"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert pages == whole
    assert len(set(pages)) == len(pages) > 50


def test_pages_reach_as_far_as_is_promised(world: World) -> None:
    entries = [
        Show(id=f"many-{n}", title=f"Many {n}", theme="space", is_embedded=False).entry() for n in range(REACH + 50)
    ]
    publish(world.db, world.settings, entries, owner="many")
    with client_of(give_key(world.db, "many"), world.client.base_url) as client:
        found: list[str] = []
        wanted: Json = {"query": "many", "mode": "lexical", "limit": 90}
        wait_until(lambda: client.post("/api/search", json=wanted).is_success, what="the opening of the index")
        while True:
            answer = client.post("/api/search", json=wanted)
            found += [hit["itemId"] for hit in answer.json()["hits"]]
            if answer.json()["nextCursor"] is None:
                break
            wanted["cursor"] = answer.json()["nextCursor"]
    assert len(found) == len(set(found)) == REACH


@pytest.mark.parametrize("cursor", ["", "!", "AAAA", "bm8uZG90cw==", "YS4xLmI=", "\U0001f600", "a" * 400])
def test_a_cursor_of_nobody_is_refused(world: World, cursor: str) -> None:
    answer = world.client.post("/api/search", json={"query": "space", "cursor": cursor})
    assert problem_of(answer, 400, "invalid_cursor")["advice"]


def test_a_cursor_goes_on_with_its_own_search_alone(world: World) -> None:
    cursor = world.search(query="space", limit=5)["nextCursor"]
    assert world.search(query="space", limit=9, cursor=cursor)["hits"]
    for other in ({"query": "robots"}, {"query": "space", "filters": {"types": ["TV"]}}, {"itemId": "mal-1"}):
        problem_of(world.client.post("/api/search", json={**other, "cursor": cursor}), 400, "invalid_cursor")


# Refusals


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, ""),
        ({"query": ""}, "query"),
        ({"query": "x" * 10_001}, "query"),
        ({"query": 5}, "query"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 101}, "limit"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x", "unknown": 1}, "unknown"),
        ({"query": "x", "index": "albums"}, ""),
        ({"query": "x", "index": ["tracks"]}, ""),
        ({"query": "x", "trackId": "song-01"}, "trackId"),
        ({"query": "x", "filters": {"year": {"min": 2, "max": 1}}}, "filters.year"),
        ({"query": "x", "filters": {"year": {}}}, "filters.year"),
        ({"query": "x", "filters": {"tempo": {"min": 1}}}, "filters.tempo"),
        ({"index": "tracks", "targets": {}}, ""),
        ({"index": "tracks", "targets": {"colour": 1}}, "targets.colour"),
        ({"index": "tracks", "query": "x", "filters": {"key": [12]}}, "filters.key"),
        ({"vector": [1.0, 2.0]}, "vector"),
        ({"vector": [0.0] * 384}, "vector"),
        ({"index": "tracks", "vector": [1.0] * 384}, "vector"),
    ],
    ids=json.dumps,
)
def test_what_can_not_be_searched_is_refused_by_its_field(world: World, wanted: Json, field: str) -> None:
    document = problem_of(world.client.post("/api/search", json=wanted), 422, "invalid_request")
    named = [one["field"] for one in document["errors"]]
    assert any(one == field or one.startswith(f"{field}.") for one in named) or not field, document
    assert not any("[" in one or one.startswith(("tracks", "catalogue")) for one in named), document


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"seeds": ["song-01"], "energyCurve": "wave"}, "energyCurve"),
        ({"seeds": ["song-01"], "energyCurve": [0.5, 2]}, "energyCurve.1"),
        ({"seeds": ["song-01"], "length": 0}, "length"),
        ({"length": 5}, "request"),
    ],
    ids=json.dumps,
)
def test_a_playlist_that_can_not_be_is_refused_by_its_field(world: World, wanted: Json, field: str) -> None:
    document = problem_of(world.client.post("/api/playlists/build", json=wanted), 422, "invalid_request")
    named = {one["field"] for one in document["errors"]}
    assert field in named, document
    assert not any("[" in one for one in named), document


def test_a_target_that_nothing_can_be_near_to_is_refused(world: World) -> None:
    answer = world.client.post("/api/search", json={"index": "tracks", "targets": {"tempo": 0}})
    assert "tempo" in problem_of(answer, 422, "invalid_request")["detail"]


@pytest.mark.parametrize(
    "body",
    [b'{"query": "\\ud800"}', b'{"query": NaN}', b'{"query": "x", "vector": [NaN]}'],
    ids=["half", "nan", "nans"],
)
def test_what_is_no_text_and_no_number_is_refused(world: World, body: bytes) -> None:
    answer = world.client.post("/api/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("malformed_body", "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        'title:"bebop" OR NEAR(cowboy, 2) AND * NOT ^ -space',
        "'; DROP TABLE entries; --",
        "\x00\x01\x1b[31m\x7f\u202e",
        "\u0000",
        "!!! ??? ...",
        "   ",
        "a" * 10_000,
        "wörd " * 1_999,
        "\U0001f600" * 5_000,
        "%_\\",
    ],
    ids=range(10),
)
def test_no_text_is_a_hostile_query(world: World, query: str) -> None:
    for mode in ("lexical", "semantic", "hybrid"):
        for index in ("catalogue", "tracks"):
            assert world.client.post("/api/search", json={"query": query, "mode": mode, "index": index}).is_success


def test_what_the_index_does_not_have_is_not_found(world: World) -> None:
    for path in ("/api/items/mal-999/similar", "/api/tracks/nothing/similar", "/api/tracks/song-01/similar?userId=x"):
        answer = world.client.get(path)
        if "userId" in path:
            assert answer.json()["hits"] == []  # another user's copy says how it sounds; x has no tracks
        else:
            problem_of(answer, 404, "entry_not_found")
    problem_of(world.client.post("/api/search", json={"itemId": "song-01"}), 404, "entry_not_found")


def test_an_owner_without_an_index_is_told_which_job_makes_one(world: World) -> None:
    with client_of(give_key(world.db, "newcomer"), world.client.base_url) as client:
        answer = client.post("/api/search", json={"query": "space"})
        assert "vector_index" in problem_of(answer, 409, "index_missing")["advice"]
        assert client.get("/api/indexes").json() == {"indexes": []}


def test_an_empty_index_answers_with_nothing(world: World) -> None:
    with client_of(give_key(world.db, "empty"), world.client.base_url) as client:
        answer = client.post("/api/search", json={"query": "space"}).json()
        assert (answer["hits"], answer["nextCursor"], answer["index"]["entries"]) == ([], None, 0)
        problem_of(client.get("/api/items/mal-1/similar"), 404, "entry_not_found")


def test_an_index_of_another_model_is_searched_by_its_words_alone(world: World) -> None:
    with client_of(give_key(world.db, "old"), world.client.base_url) as client:
        for mode in ("semantic", "hybrid"):
            answer = client.post("/api/search", json={"query": "old", "mode": mode})
            assert "lexical" in problem_of(answer, 409, "embedder_mismatch")["advice"]
        assert client.post("/api/search", json={"query": "old", "mode": "lexical"}).json()["hits"]


# Whose


def test_an_owner_searches_their_own_index_of_the_same_name(world: World) -> None:
    with client_of(give_key(world.db, "beta"), world.client.base_url) as beta:
        wanted = {"query": "cowboy bebop", "limit": 100}
        assert [hit["itemId"] for hit in beta.post("/api/search", json=wanted).json()["hits"]] == ["beta-1"]
        assert "beta-1" not in world.ids(**wanted)
        problem_of(beta.get("/api/items/mal-1/similar"), 404, "entry_not_found")
        problem_of(world.client.get("/api/items/beta-1/similar"), 404, "entry_not_found")
        problem_of(beta.post("/api/search", json={"query": "x", "owner": DEFAULT_OWNER}), 422, "invalid_request")
        cursor = world.search(query="space", limit=1)["nextCursor"]
        problem_of(beta.post("/api/search", json={"query": "space", "cursor": cursor}), 400, "invalid_cursor")
        assert [one["name"] for one in beta.get("/api/indexes").json()["indexes"]] == ["catalogue"]


def test_search_wants_its_own_scope(world: World) -> None:
    others = tuple(scope for scope in Scope if scope is not Scope.SEARCH)
    with client_of(give_key(world.db, DEFAULT_OWNER, scopes=others), world.client.base_url) as client:
        for answer in (
            client.post("/api/search", json={"query": "space"}),
            client.get("/api/items/mal-1/similar"),
            client.get("/api/tracks/song-01/similar"),
            client.post("/api/playlists/build", json={"seeds": ["song-01"]}),
            client.get("/api/indexes"),
        ):
            assert "search" in problem_of(answer, 403, "not_allowed")["detail"]
    with client_of(give_key(world.db, DEFAULT_OWNER, scopes=(Scope.SEARCH,)), world.client.base_url) as client:
        assert client.post("/api/search", json={"query": "space"}).is_success
        problem_of(client.post("/api/indexes/catalogue/rollback"), 403, "not_allowed")


def test_a_search_leaves_no_trace_in_the_audit_log(world: World) -> None:
    def actions() -> set[str]:
        entries = world.client.get("/api/audit").json()["entries"]
        return {entry["action"] for entry in entries if entry["outcome"] != "not_allowed"}

    world.search(query="a search that nobody writes down")
    world.client.post("/api/search", json={"query": ""})
    problem_of(world.client.post("/api/indexes/catalogue/rollback"), 409, "nothing_to_roll_back")
    wait_until(lambda: "roll_back_index" in actions(), what="the entry of what came later")
    assert "search" not in actions()


# Playlists


def test_a_playlist_goes_from_one_track_to_another(world: World) -> None:
    wanted = {"userId": "ada", "from": "song-02", "to": "song-30", "length": 6, "noRepeatArtist": False}
    answer = world.client.post("/api/playlists/build", json=wanted)
    assert answer.status_code == 200, answer.text
    found = [track["trackId"] for track in answer.json()["tracks"]]
    assert (found[0], found[-1], len(set(found))) == ("song-02", "song-30", 6)
    problem_of(world.client.post("/api/playlists/build", json={"seeds": ["nothing"]}), 404, "entry_not_found")
    problem_of(world.client.post("/api/playlists/build", json={}), 422, "invalid_request")
