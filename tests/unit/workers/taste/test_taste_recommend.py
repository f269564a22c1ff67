"""Recommendations follow a taste, differ among each other, and say why."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.taste_data import (
    CATALOGUE,
    GENRES,
    TEXT_DIMENSIONS,
    Catalogue,
    made_one,
    made_track,
    made_tracks,
    published,
)
from workers.taste.collection import NAMINGS, Collection
from workers.taste.recommend import Recommendations, Wishes, recommend
from workers.taste.signs import Sign, leanings

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def of_genre(genre: int, count: int, *, start: int = 0) -> list[str]:
    return [f"mal-{genre + len(GENRES) * (start + n)}" for n in range(count)]


def genre_of(item: str) -> int:
    return int(item.removeprefix("mal-")) % len(GENRES)


def rated(items: Sequence[str], score: float | None, *, days: float = 10, **more: Any) -> list[Sign]:
    return [Sign(item=one, score=score, at=NOW - timedelta(days=days), **more) for one in items]


def asked(catalogue: Catalogue, signs: Sequence[Sign], **wishes: Any) -> Recommendations:
    seen = [sign.item for sign in signs if not sign.is_planned]
    wished = Wishes(excluded=seen, planned=frozenset(one.item for one in signs if one.is_planned), **wishes)
    return recommend(catalogue.collection, leanings(signs, NOW), wished)


def test_half_are_of_the_genre_that_is_liked_and_none_was_seen(catalogue: Catalogue) -> None:
    """More than half would be of one genre, which is too much of one thing."""
    for genre in range(len(GENRES)):
        signs = rated(of_genre(genre, 8), 9) + rated(of_genre((genre + 5) % 12, 4), 3)
        found = asked(catalogue, signs).found
        genres = Counter(genre_of(one.id) for one in found)
        assert len(found) == 20
        assert genres[genre] == 10
        assert not {one.id for one in found} & {sign.item for sign in signs}


def test_known_tastes_are_met(catalogue: Catalogue) -> None:
    """Users like three genres; half of what they like is hidden, and found again more often than by chance."""
    chance = np.random.default_rng(2)
    precisions = []
    for _ in range(30):
        genres = chance.choice(len(GENRES), 3, replace=False)
        signs = [sign for genre in genres for sign in rated(of_genre(int(genre), 6, start=int(chance.integers(50))), 8)]
        found = asked(catalogue, signs).found
        precisions.append(sum(genre_of(one.id) in genres for one in found) / len(found))
    # By chance it would be 0.25; two of twenty go to further genres.
    assert np.mean(precisions) >= 0.85
    assert min(precisions) >= 0.3


def test_there_are_five_genres_and_none_above_half(catalogue: Catalogue) -> None:
    for genre in range(4):
        found = asked(catalogue, rated(of_genre(genre, 20), 10)).found
        genres = Counter(genre_of(one.id) for one in found)
        assert len(genres) >= 5
        assert max(genres.values()) <= 10
        tags = Counter(tag for one in found for tag in catalogue.collection.tags(one.id))
        assert max(tags.values()) <= 10


def test_the_first_has_the_highest_score_and_all_are_above_nought(catalogue: Catalogue) -> None:
    scores = [one.score for one in asked(catalogue, rated(of_genre(1, 5), 9)).found]

    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert len(set(scores)) > 15


def test_reasons_name_what_was_liked_and_which_tags_are_shared(catalogue: Catalogue) -> None:
    best = asked(catalogue, rated(of_genre(3, 5), 9)).found[0]

    assert best.reason.startswith("Because you rated Series ")
    assert " 9; shares genre 3" in best.reason


def test_what_is_new_counts_more_than_what_is_old(catalogue: Catalogue) -> None:
    signs = rated(of_genre(2, 6), 9, days=2000) + rated(of_genre(7, 6), 9, days=3)

    genres = Counter(genre_of(one.id) for one in asked(catalogue, signs).found)

    assert genres[7] > genres[2]


def test_below_the_users_mean_is_disliked(catalogue: Catalogue) -> None:
    signs = rated(of_genre(4, 6), 6) + rated(of_genre(9, 6), 4.5)

    found = {one.sign.item: one.weight for one in leanings(signs, NOW)}

    assert all(found[one] > 0 for one in of_genre(4, 6))
    assert all(found[one] < 0 for one in of_genre(9, 6))
    assert Counter(genre_of(one.id) for one in asked(catalogue, signs).found)[9] <= 2


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"score": 9}, {"score": 8}),
        ({"score": 7, "plays": 0}, {"score": 5}),
        ({"plays": 20}, {"plays": 2}),
        ({"status": "completed"}, {"status": "dropped"}),
        ({"status": "planned"}, {"status": "dropped"}),
        ({"status": "watching"}, {"status": "planned"}),
        ({"score": 9, "status": "completed"}, {"score": 9, "status": "dropped"}),
        ({"status": "CURRENT"}, {"status": "PLANNING"}),
        ({"status": "repeating"}, {"status": "watched"}),
        ({"status": "watched"}, {"status": "on_hold"}),
    ],
)
def test_one_sign_says_more_than_another(more: dict[str, Any], less: dict[str, Any]) -> None:
    one, other = (leanings([Sign(item="a", at=NOW, **sign), *rated(["b", "c"], 6)], NOW) for sign in (more, less))

    assert weight_of(one) > weight_of(other)


def weight_of(found: Sequence[Any]) -> float:
    return next(float(one.weight) for one in found if one.sign.item == "a")


def test_a_hundred_plays_are_not_ten_times_ten(catalogue: Catalogue) -> None:
    weights = [weight_of(leanings([Sign(item="a", plays=plays, at=NOW)], NOW)) for plays in (1, 10, 100)]
    assert weights[2] / weights[1] < weights[1] / weights[0]


def test_half_after_a_half_life_and_never_nothing() -> None:
    weights = [
        weight_of(leanings([Sign(item="a", plays=10, at=NOW - timedelta(days=days))], NOW)) for days in (0, 180, 9999)
    ]
    assert weights == pytest.approx([1.0, 0.5, 0.1])


def test_the_future_counts_as_now() -> None:
    assert weight_of(leanings([Sign(item="a", plays=10, at=NOW + timedelta(days=9999))], NOW)) == pytest.approx(1.0)


@pytest.mark.parametrize("status", ["planned", "PLANNING", "plan_to_watch", "Plan to Watch", "planToWatch", "wishlist"])
def test_a_list_for_later_may_be_recommended_and_what_was_dropped_not(catalogue: Catalogue, status: str) -> None:
    planned = of_genre(5, 40, start=5)
    signs = [*rated(of_genre(5, 5), 9), *rated(planned, None, status=status)]

    found = {one.id: one.reason for one in asked(catalogue, signs).found}

    listed = set(found) & set(planned)
    assert listed
    assert all("on your list" in found[one] for one in listed)
    assert all("on your list" not in reason for one, reason in found.items() if one not in listed)


def test_a_reason_names_what_shares_its_tags(tmp_path: Path) -> None:
    """The one that is liked best is near to everything, and shares tags with half of it."""
    axes = np.eye(TEXT_DIMENSIONS, dtype=np.float32)
    entries = [
        made_one(n, 2 * axes[0] + axes[1 + n % 2] + axes[3 + n % 30] / 4, tags=("dragons" if n % 2 else "robots",))
        for n in range(40)
    ]
    entries += [made_one(n, -axes[n % 30], tags=("plain",)) for n in range(40, 400)]
    collection = Collection(published(tmp_path, entries, CATALOGUE).snapshot, NAMINGS["catalogue"])
    signs = [*rated(["mal-1"], 10, days=0), *rated(["mal-2"], 9, days=400)]

    found = recommend(collection, leanings(signs, NOW), Wishes(excluded=("mal-1", "mal-2"), limit=10)).found

    near = [one for one in found if int(one.id.removeprefix("mal-")) < 40]
    assert {int(one.id.removeprefix("mal-")) % 2 for one in near} == {0, 1}
    for one in near:
        named, tag = ("1 10", "dragons") if int(one.id.removeprefix("mal-")) % 2 else ("2 9", "robots")
        assert f"{named}; shares {tag}." in one.reason


def test_nobody_known_gets_what_is_well_rated_and_is_told_so(catalogue: Catalogue) -> None:
    answer = asked(catalogue, [])

    assert answer.is_cold_start
    assert len(answer.found) == 20
    assert all("Nothing that you like is known yet" in one.reason for one in answer.found)
    scores = [float(catalogue.entries[one.id].attributes["score"]) for one in answer.found]  # type: ignore[arg-type]
    assert np.mean(scores) > 7.5
    assert len({genre_of(one.id) for one in answer.found}) >= 5


def test_tags_that_are_asked_for_lead_where_nothing_else_is_known(catalogue: Catalogue) -> None:
    answer = asked(catalogue, [], liked_tags=("Genre 6",))

    assert Counter(genre_of(one.id) for one in answer.found)[6] == 10
    assert any("Has genre 6, as you asked" in one.reason for one in answer.found)


def test_a_context_is_a_ranking_of_its_own(catalogue: Catalogue) -> None:
    wanted = np.asarray(catalogue.entries["mal-8"].vectors["text"])
    signs = rated(of_genre(1, 6), 9)

    with_context = asked(catalogue, signs, context=wanted / np.linalg.norm(wanted), context_words="something light")
    genres = Counter(genre_of(one.id) for one in with_context.found)

    assert genres[8] > Counter(genre_of(one.id) for one in asked(catalogue, signs).found)[8]
    assert genres[8] >= 5
    assert genres[1] >= 5
    near = {genre_of(one.id) for one in with_context.found if "near “something light”" in one.reason}
    assert 8 in near
    assert 1 not in near  # they come for the taste's sake


def test_a_context_alone_is_enough(catalogue: Catalogue) -> None:
    wanted = np.asarray(catalogue.entries["mal-8"].vectors["text"])

    answer = asked(catalogue, [], context=wanted / np.linalg.norm(wanted), context_words="x")

    assert Counter(genre_of(one.id) for one in answer.found)[8] == 10


def test_only_praise_for_everything_is_a_taste_too(catalogue: Catalogue) -> None:
    answer = asked(catalogue, rated(of_genre(2, 5), 10))
    assert not answer.is_cold_start
    assert Counter(genre_of(one.id) for one in answer.found)[2] == 10


def test_a_taste_that_cancels_out_is_no_failure(tmp_path: Path) -> None:
    up = np.eye(TEXT_DIMENSIONS, dtype=np.float32)[0]
    entries = [made_one(n, up * (1 if n % 2 else -1), tags=("x",)) for n in range(40)]
    snapshot = published(tmp_path, entries, CATALOGUE).snapshot

    found = recommend(
        Collection(snapshot, NAMINGS["catalogue"]),
        leanings(rated(["mal-1", "mal-2"], 9), NOW),
        Wishes(excluded=("mal-1", "mal-2"), limit=5),
    )

    assert len(found.found) == 5


def test_everything_seen_leaves_nothing(tmp_path: Path) -> None:
    entries = [made_one(n, np.ones(TEXT_DIMENSIONS, np.float32), tags=()) for n in range(3)]
    collection = Collection(published(tmp_path, entries, CATALOGUE).snapshot, NAMINGS["catalogue"])
    every = [entry.id for entry in entries]

    assert recommend(collection, leanings(rated(every, 9), NOW), Wishes(excluded=every)).found == ()


def test_tracks_are_recommended_once_by_sound(tmp_path: Path) -> None:
    entries = made_tracks(600)
    copies = [made_track(f"track-{n:05d}", entry.vectors["audio"], user="bob") for n, entry in enumerate(entries)]
    collection = Collection(published(tmp_path, [*entries, *copies]).snapshot, NAMINGS["tracks"])
    heard = [f"track-{4 + 12 * n:05d}" for n in range(8)]
    ids = [collection.find("ada", one) for one in heard]
    assert ids == [f"ada\n{one}" for one in heard]
    signs = [Sign(item=one, plays=5, at=NOW) for one in ids if one]

    found = recommend(collection, leanings(signs, NOW), Wishes(excluded=[one for one in ids if one])).found

    tracks = [one.id.partition("\n")[2] for one in found]
    assert len(set(tracks)) == 20
    assert not set(tracks) & set(heard)
    assert all(int(one.removeprefix("track-")) % 12 == 4 for one in tracks)
    assert all(one.reason.startswith("Because you played Song track-") for one in found)
