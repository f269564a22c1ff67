"""Recommendations as a job: out of what clients have stored, whatever state that is in, into batches that replace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from bson.datetime_ms import DatetimeMS

from api.recommendations import find
from shared import lifecycle
from shared.clock import now
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.lifecycle import submit, validate_request
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import listening_history, recommendations
from shared.store.database import ensure_library_indexes, library
from shared.store.indexes import IndexName
from shared.store.job_record import JobRecord, JobStatus
from shared.store.listening_history import Play
from shared.store.recommendations import Recommendation
from shared.store.users import user_ids
from tests.integration.engine import Engine, engine_on
from tests.taste_data import CATALOGUE, GENRES, TRACKS, made_series, made_tracks, publish_index
from workers.taste import current
from workers.taste.pool import labels
from workers.taste.recommend import recommend as recommend_by_taste
from workers.vectors.embedders.minilm import DIMENSIONS, MiniLm
from workers.vectors.schema import Entry, Kind, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot

SERIES = made_series(1200)
SOUNDS = made_tracks(600)
CATALOGUE_INDEX, TRACKS_INDEX = IndexName.CATALOGUE, IndexName.TRACKS


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


@pytest.fixture
def series(db: Db, settings: Settings) -> str:
    return publish_index(db, settings, "catalogue", SERIES, schema=CATALOGUE)


@pytest.fixture
def sounds(db: Db, settings: Settings) -> str:
    return publish_index(db, settings, "tracks", SOUNDS, schema=TRACKS)


def recommend(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("recommendations", **request).id)


def rate(db: Db, user: str, genre: int, score: Any = 9, *, count: int = 6, start: int = 0) -> list[str]:
    items = [f"mal-{genre + len(GENRES) * (start + n)}" for n in range(count)]
    db["ratings"].insert_many(
        [{"userId": user, "itemId": one, "score": score, "status": "completed", "updatedAt": now()} for one in items]
    )
    return items


def play(db: Db, user: str, tracks: Sequence[str], *, times: int = 3) -> None:
    db["listening_history"].insert_many(
        [{"userId": user, "trackId": one, "playedAt": now()} for one in tracks for _ in range(times)]
    )


def batch_of(db: Db, user: str, index: IndexName = CATALOGUE_INDEX) -> list[Recommendation]:
    return recommendations.newest(db, user, index)


def genres(batch: Sequence[Recommendation]) -> Counter[int]:
    return Counter(int((one.item_id or "").removeprefix("mal-")) % len(GENRES) for one in batch)


def test_a_user_gets_what_they_like_and_have_not_seen(engine: Engine, series: str) -> None:
    seen = rate(engine.db, "ada", 3)

    ended = recommend(engine, userId="ada")

    assert ended.status is JobStatus.SUCCEEDED
    assert ended.summary == {"users": 1, "failed": 0}
    batch = batch_of(engine.db, "ada")
    assert [one.rank for one in batch] == list(range(1, 21))
    assert genres(batch)[3] == 10
    assert not {one.item_id for one in batch} & set(seen)
    assert all(one.job_id == ended.id and not one.cold_start for one in batch)
    assert batch[0].reason.startswith("Because you rated Series ")
    assert batch[0].title
    assert batch[0].title.startswith("Series ")
    assert timedelta(days=7.9) < batch[0].expires_at - now() <= timedelta(days=8)
    (item,) = engine.items(ended.id)
    assert item.result is not None
    assert (item.result["recommended"], item.result["coldStart"]) == (20, False)


def test_what_was_said_of_an_entry_holds_for_the_one_that_it_has_become(engine: Engine, series: str) -> None:
    page = "https://myanimelist.net/anime/"
    become = {f"mal-{90_000 + n}": f"mal-{3 + len(GENRES) * n}" for n in range(6)}
    stored: list[Json] = []
    for n, (gone, living) in enumerate(become.items()):
        number = living.removeprefix("mal-")
        pages = [f"{page}{90_000 + n}", f"https://anilist.co/anime/{n + 1}"]
        stored.append({"_id": gone, "sources": pages, "removedAt": now()})
        stored.append({"_id": living, "sources": [f"{page}{number}", *pages], "removedAt": None})
    engine.db["catalogue"].insert_many(stored)
    names = [*list(become)[:5], "anilist-6"]
    engine.db["ratings"].insert_many(
        [{"userId": "ada", "itemId": one, "score": 9, "status": "completed", "updatedAt": now()} for one in names]
    )
    left_out = "mal-90006"
    engine.db["catalogue"].insert_many(
        [
            {"_id": left_out, "sources": [f"{page}90006"], "removedAt": now()},
            {"_id": f"mal-{3 + len(GENRES) * 6}", "sources": [f"{page}90006"], "removedAt": None},
        ]
    )

    recommend(engine, userId="ada", exclude=[left_out])

    batch = batch_of(engine.db, "ada")
    assert not any(one.cold_start for one in batch)
    assert genres(batch)[3] == 10
    assert not {one.item_id for one in batch} & {*become.values(), f"mal-{3 + len(GENRES) * 6}"}


def test_what_was_read_at_spotify_makes_no_taste_unless_the_operator_may(
    engine: Engine, sounds: str, db: Db, settings: Settings
) -> None:
    heard = [f"track-{5 + 12 * n:05d}" for n in range(6)]
    plays = [Play(track_id=one, played_at=now() - timedelta(minutes=n)) for n, one in enumerate(heard)]
    assert listening_history.add(library(db, "local"), "ada", plays) == 6

    recommend(engine, userId="ada", index="tracks")
    batch = batch_of(db, "ada", TRACKS_INDEX)
    assert all(one.cold_start for one in batch)
    assert not {one.track_id for one in batch} & set(heard)  # they know these
    with engine_on(db, settings.model_copy(update={"spotify_may_train": True})) as may:
        recommend(may, userId="ada", index="tracks")
    assert not any(one.cold_start for one in batch_of(db, "ada", TRACKS_INDEX))


def test_what_was_heard_leads_to_tracks_that_sound_alike(engine: Engine, sounds: str) -> None:
    heard = [f"track-{5 + 12 * n:05d}" for n in range(6)]
    play(engine.db, "ada", heard)

    recommend(engine, userId="ada", index="tracks")

    batch = batch_of(engine.db, "ada", TRACKS_INDEX)
    tracks = [one.track_id or "" for one in batch]
    assert len(set(tracks)) == 20
    assert not set(tracks) & set(heard)
    assert all(int(one.removeprefix("track-")) % 12 == 5 for one in tracks)
    assert all(one.item_id is None for one in batch)
    assert batch[0].reason.startswith("Because you played Song track-")


def test_everybody_is_found_wherever_they_stand_and_once(engine: Engine, series: str) -> None:
    db = engine.db
    db["users"].insert_many([{"userId": one} for one in ("ada", "bob")])
    rate(db, "bob", 1)
    rate(db, "cy", 2)
    play(db, "dee", ["track-00001"])
    db["ratings"].insert_many([{"userId": one, "itemId": "mal-1"} for one in (None, 7, {"a": 1}, ["x"], "", "u" * 999)])

    ended = recommend(engine, allUsers=True)

    assert [item.item["userId"] for item in engine.items(ended.id)] == ["ada", "bob", "cy", "dee"]
    assert [batch_of(db, one)[0].cold_start for one in ("ada", "bob", "cy", "dee")] == [True, False, False, True]


def test_users_of_many_pages_come_in_their_order(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.users.PAGE", 7)
    names = [f"user {number:03d}" for number in range(40)]
    db["ratings"].insert_many([{"userId": one, "itemId": "x"} for one in names[:25]])
    db["listening_history"].insert_many([{"userId": one, "trackId": "x"} for one in names[20:] for _ in range(3)])

    assert list(user_ids(db)) == names
    assert list(user_ids(db, after="user 017")) == names[18:]


def test_nobody_at_all_is_no_failure(engine: Engine, series: str) -> None:
    assert recommend(engine, allUsers=True).status is JobStatus.SUCCEEDED


def test_a_newer_batch_holds_and_older_ones_stay_to_be_judged(engine: Engine, series: str) -> None:
    rate(engine.db, "ada", 3)
    own = {"userId": "ada", "trackId": "x", "score": 0.5, "createdAt": now() - timedelta(days=9)}
    engine.db["recommendations"].insert_one(own)
    recommend(engine, userId="ada", limit=30)
    rate(engine.db, "ada", 8, 10, count=12)

    second = recommend(engine, userId="ada")

    assert {one.job_id for one in batch_of(engine.db, "ada")} == {second.id}
    assert engine.db["recommendations"].count_documents({"index": "catalogue"}) == 30 + 20
    assert engine.db["recommendations"].count_documents({"_id": own["_id"]}) == 1


def test_a_reader_sees_a_whole_batch_at_any_moment(
    engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(engine.db, "ada", 3)
    first = recommend(engine, userId="ada", limit=15)
    seen: list[set[str]] = []

    def look(name: str) -> None:
        original = getattr(recommendations, name)

        def looked(*arguments: Any) -> None:
            seen.append({one.job_id for one in batch_of(engine.db, "ada")})
            original(*arguments)
            seen.append({one.job_id for one in batch_of(engine.db, "ada")})
            assert len(batch_of(engine.db, "ada")) == 15

        monkeypatch.setattr(recommendations, name, looked)

    look("insert")
    look("delete_earlier_attempt")

    second = recommend(engine, userId="ada", limit=15)

    assert seen == [{first.id}, {second.id}, {second.id}, {second.id}]


def test_work_that_is_done_twice_leaves_one_batch(engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time the power is cut behind the storing; the index has changed when the chunk comes again."""
    rate(engine.db, "ada", 3)
    submitted = engine.submit("recommendations", userId="ada")
    engine.plan(submitted.id)
    with monkeypatch.context() as patch:
        patch.setattr(recommendations, "delete_earlier_attempt", lambda *_: _raise(ValueError("cut")))
        engine.run()
    assert len(batch_of(engine.db, "ada")) == 20
    engine.db["ratings"].delete_many({})
    publish_index(engine.db, engine.settings, "catalogue", SERIES[:5], schema=CATALOGUE)
    engine.db["chunks"].update_many({}, {"$set": {"visibleAt": now() - timedelta(seconds=1)}})

    ended = engine.drive(submitted.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert len(batch_of(engine.db, "ada")) == 5
    assert engine.db["recommendations"].count_documents({}) == 5


def _raise(error: Exception) -> None:
    raise error


def test_without_an_index_the_user_fails_with_what_to_do(engine: Engine) -> None:
    ended = recommend(engine, userIds=["ada", "bob"])

    assert ended.status is JobStatus.FAILED
    for item in engine.items(ended.id):
        assert item.error is not None
        assert item.error.code == "index_missing"
        assert "vector_index" in item.error.message


def test_a_retry_after_the_index_is_built_succeeds(engine: Engine, settings: Settings) -> None:
    ended = recommend(engine, userId="ada")
    publish_index(engine.db, settings, "catalogue", SERIES, schema=CATALOGUE)
    lifecycle.retry(engine.db, ended.id)

    assert engine.drive(ended.id).status is JobStatus.SUCCEEDED
    assert len(batch_of(engine.db, "ada")) == 20


def test_a_damaged_index_fails_with_what_to_do(engine: Engine, settings: Settings, series: str) -> None:
    damaged = settings.index_dir / "local" / "catalogue" / series / "space.text.unit.bin"
    damaged.write_bytes(b"\0" * damaged.stat().st_size)

    (item,) = engine.items(recommend(engine, userId="ada").id)

    assert item.error is not None
    assert item.error.code == "index_damaged"


def test_the_index_is_opened_once_and_again_when_the_pointer_moves(
    engine: Engine, settings: Settings, series: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = Shelf.open

    def noted(self: Shelf, name: str) -> Snapshot:
        opened.append(name)
        return original(self, name)

    monkeypatch.setattr(Shelf, "open", noted)
    for _ in range(3):
        recommend(engine, userIds=["ada", "bob"])
    assert opened == [series]

    renewed = publish_index(engine.db, settings, "catalogue", SERIES[:300], schema=CATALOGUE)
    recommend(engine, userId="ada")

    assert opened == [series, renewed]


def test_no_more_indexes_stay_open_than_are_allowed(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "OPEN_MAX", 1)
    for name, entries, schema in (("catalogue", SERIES[:50], CATALOGUE), ("tracks", SOUNDS[:50], TRACKS)):
        publish_index(engine.db, settings, name, entries, schema=schema)
    for index in ("catalogue", "tracks", "catalogue"):
        assert recommend(engine, userId="ada", index=index).status is JobStatus.SUCCEEDED
        assert len(current._open) == 1


def test_bad_documents_never_fail_a_user(engine: Engine, series: str, sounds: str) -> None:
    db = engine.db
    bad: list[Any] = [
        None,
        "",
        7,
        -1.5,
        float("nan"),
        float("inf"),
        True,
        [],
        ["mal-1"],
        {},
        {"$gt": ""},
        b"x",
        "x" * 999,
    ]
    times: list[Any] = [None, "yesterday", "2026-01-01", "2026-01-01T00:00:00Z", 5, datetime(2999, 1, 1, tzinfo=UTC)]
    times += [datetime(1, 1, 1, tzinfo=UTC), DatetimeMS(2**62), DatetimeMS(-(2**62)), [], {"a": 1}]
    db["ratings"].insert_many([{"userId": "ada", "itemId": one, "score": 9} for one in [*bad, "no such one"]])
    db["ratings"].insert_many([{"userId": "ada", "itemId": "mal-1", "score": one, "status": one} for one in bad])
    db["ratings"].insert_many([{"userId": "ada", "itemId": "mal-2", "updatedAt": one} for one in times])
    db["ratings"].insert_one({"userId": "ada"})
    db["listening_history"].insert_many([{"userId": "ada", "trackId": one, "playedAt": now()} for one in bad])
    db["listening_history"].insert_many([{"userId": "ada", "trackId": "track-00001", "playedAt": one} for one in times])
    db["listening_history"].insert_one({"userId": "ada"})
    rate(db, "ada", 3)

    for index in IndexName:
        ended = recommend(engine, userId="ada", index=index)
        assert ended.status is JobStatus.SUCCEEDED
    assert genres(batch_of(db, "ada"))[3] == 10
    assert "track-00001" not in {one.track_id for one in batch_of(db, "ada", TRACKS_INDEX)}


def test_a_tag_that_everything_has_is_no_genre(engine: Engine, settings: Settings) -> None:
    entries = [
        Entry(
            id=one.id,
            vectors=one.vectors,
            texts=one.texts,
            attributes={**one.attributes, "tags": (*labels(one, "tags"), "anime")},
        )
        for one in SERIES
    ]
    publish_index(engine.db, settings, "catalogue", entries, schema=CATALOGUE)
    rate(engine.db, "ada", 3)

    recommend(engine, userId="ada")

    found = genres(batch_of(engine.db, "ada"))
    assert len(found) >= 5
    assert found[3] == 10


def test_who_has_seen_everything_is_shown_nothing_of_before(engine: Engine, series: str) -> None:
    rate(engine.db, "ada", 3)
    recommend(engine, userId="ada")
    assert find(engine.db, "local", user_id="ada", index=CATALOGUE_INDEX, limit=20).recommendations
    for genre in range(len(GENRES)):
        rate(engine.db, "ada", genre, count=100)

    job = recommend(engine, userId="ada")

    assert job.status is JobStatus.SUCCEEDED
    shown = find(engine.db, "local", user_id="ada", index=CATALOGUE_INDEX, limit=20)
    assert (shown.recommendations, shown.expired, shown.job_id) == ((), False, job.id)
    assert "left" in (shown.advice or "")
    assert len(batch_of(engine.db, "ada")) == 20  # to be judged


def test_who_disliked_all_that_they_rated_is_spared_more_of_it(engine: Engine, series: str) -> None:
    for genre, score in ((3, 1), (4, 2), (5, 3)):
        rate(engine.db, "ada", genre, score)

    recommend(engine, userId="ada")

    batch = batch_of(engine.db, "ada")
    assert sum(count for genre, count in genres(batch).items() if genre in (3, 4, 5)) <= 1  # a quarter of all are
    assert not [one.reason for one in batch if "you rated" in one.reason]
    assert batch[0].cold_start


@pytest.mark.parametrize("user", ["ünïcödé 音楽", "a\nb", "a/b.c$d", " ", "x" * 256])
def test_any_name_of_a_user_will_do(engine: Engine, sounds: str, series: str, user: str) -> None:
    rate(engine.db, user, 2)
    for index in IndexName:
        assert recommend(engine, userId=user, index=index).status is JobStatus.SUCCEEDED
    assert genres(batch_of(engine.db, user))[2] == 10


def test_planned_may_come_and_excluded_and_dropped_never(engine: Engine, series: str) -> None:
    rate(engine.db, "ada", 3)
    engine.db["ratings"].insert_many(
        [
            {"userId": "ada", "itemId": one["id"], "status": one["status"], "score": None, "updatedAt": now()}
            for one in [
                *({"id": f"mal-{3 + 12 * n}", "status": "Plan to Watch"} for n in range(10, 40)),
                *({"id": f"mal-{3 + 12 * n}", "status": "dropped"} for n in range(40, 60)),
            ]
        ]
    )
    excluded = [f"mal-{3 + 12 * n}" for n in range(60, 80)]

    recommend(engine, userId="ada", exclude=[*excluded, "no such one"])

    found = {one.item_id: one.reason for one in batch_of(engine.db, "ada")}
    assert not set(found) & {*excluded, *(f"mal-{3 + 12 * n}" for n in range(40, 60))}
    assert any("on your list" in reason for reason in found.values())


def test_owners_have_their_own_index_and_users(engine: Engine, settings: Settings, series: str) -> None:
    theirs = library(engine.db, "beta")
    ensure_library_indexes(theirs)
    rate(engine.db, "ada", 3)

    kind = get_kind("recommendations")
    stored, _ = submit(engine.db, kind, validate_request(kind, {"userId": "ada"}), owner="beta")
    (item,) = engine.items(engine.drive(stored.id).id)
    assert item.error is not None
    assert item.error.code == "index_missing"

    publish_index(engine.db, settings, "catalogue", SERIES, schema=CATALOGUE, owner="beta")
    stored, _ = submit(engine.db, kind, validate_request(kind, {"userId": "ada"}), owner="beta")
    engine.drive(stored.id)
    try:
        assert all(one.cold_start for one in batch_of(theirs, "ada"))
        assert batch_of(engine.db, "ada") == []
    finally:
        engine.db.client.drop_database(theirs.name)


def test_a_context_in_words_leads_there(engine: Engine, settings: Settings) -> None:
    texts = {
        "light": [f"a light funny comedy about school friends, part {n}" for n in range(30)],
        "dark": [f"a grim war tragedy with death and despair, part {n}" for n in range(30)],
    }
    model = MiniLm()
    schema = Schema(
        spaces={"text": Space(dimensions=DIMENSIONS)}, columns={"tags": Kind.LABELS}, fields=CATALOGUE.fields
    )
    entries = [
        Entry(
            id=f"{kind}-{n}",
            vectors={"text": vector},
            texts={"title": [f"{kind} {n}"]},
            attributes={"tags": [f"{kind} {n % 4}"]},
        )
        for kind, own in texts.items()
        for n, vector in enumerate(model.embed_documents(own))
    ]
    publish_index(engine.db, settings, "catalogue", entries, schema=schema)
    engine.db["ratings"].insert_one({"userId": "ada", "itemId": "dark-1", "score": 9, "updatedAt": now()})

    recommend(engine, userId="ada", context="something light for a weekend", limit=10)
    with_context = batch_of(engine.db, "ada")
    recommend(engine, userId="ada", limit=10)

    def light(batch: Sequence[Recommendation]) -> int:
        return sum((one.item_id or "").startswith("light") for one in batch)

    assert light(with_context) > light(batch_of(engine.db, "ada")) + 2
    near = [one.item_id or "" for one in with_context if "something light for a weekend" in one.reason]
    assert near
    assert all(one.startswith("light") for one in near)


def test_a_context_needs_vectors_of_text(engine: Engine, sounds: str) -> None:
    (item,) = engine.items(recommend(engine, userId="ada", index="tracks", context="party").id)

    assert item.error is not None
    assert item.error.code == "no_text"


def test_an_index_of_another_model_refuses_a_context(engine: Engine, series: str) -> None:
    engine.db["indexes"].update_one({"_id": "local.catalogue"}, {"$set": {"embedder": "another/1"}})

    (item,) = engine.items(recommend(engine, userId="ada", context="party").id)

    assert item.error is not None
    assert item.error.code == "other_embedder"


def test_a_failing_user_does_not_take_the_others_along(
    engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = recommend_by_taste

    def sometimes(*arguments: Any) -> Any:
        if arguments[1]:
            raise ZeroDivisionError
        return original(*arguments)

    monkeypatch.setattr("workers.taste.job.recommend", sometimes)
    rate(engine.db, "bob", 1)

    ended = recommend(engine, userIds=["ada", "bob", "cy"])

    assert [item.status for item in engine.items(ended.id)] == [
        ItemStatus.SUCCEEDED,
        ItemStatus.FAILED,
        ItemStatus.SUCCEEDED,
    ]


def test_a_hundred_tastes_are_met(engine: Engine, series: str) -> None:
    """Users of two genres each: what they get is of those far more often than by chance."""
    chance = np.random.default_rng(5)
    tastes: dict[str, set[int]] = {}
    documents: list[Json] = []
    for number in range(100):
        user = f"user-{number:03d}"
        liked = chance.choice(len(GENRES), 2, replace=False).tolist()
        tastes[user] = set(liked)
        for genre in liked:
            for n in chance.choice(90, 5, replace=False).tolist():
                documents.append({"userId": user, "itemId": f"mal-{genre + 12 * n}", "score": 8, "updatedAt": now()})
    engine.db["ratings"].insert_many(documents)

    assert recommend(engine, allUsers=True).status is JobStatus.SUCCEEDED

    precisions = []
    for user, liked in tastes.items():
        found = genres(batch_of(engine.db, user))
        precisions.append(sum(found[genre] for genre in liked) / 20)
        assert len(found) >= 5
        assert max(found.values()) <= 10
    assert min(precisions) >= 0.3
    assert np.mean(precisions) >= 0.7
