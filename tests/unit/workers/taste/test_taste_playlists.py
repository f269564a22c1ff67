"""A playlist keeps near what was named, goes as it was told, and says what had to give way."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from shared.playlists import Playlist, PlaylistRequest
from tests.taste_data import DIMENSIONS, Tracks, made_track, made_tracks, published
from workers.taste.playlists import build
from workers.vectors.errors import UnknownEntry

GROUPS = 12


def asked(tracks: Tracks, **request: Any) -> Playlist:
    return build(tracks.snapshot, PlaylistRequest.model_validate({"userId": "ada", **request}))


def name(number: int) -> str:
    return f"track-{number:05d}"


def group_of(track_id: str) -> int:
    return int(track_id.removeprefix("track-")) % GROUPS


def ids(playlist: Playlist) -> list[str]:
    return [one.track_id for one in playlist.tracks]


def test_seeds_lead_to_their_own_kind(tracks: Tracks) -> None:
    playlist = asked(tracks, seeds=[name(3), name(3 + GROUPS)], length=20)

    assert len(playlist.tracks) == 20
    assert {group_of(one) for one in ids(playlist)} == {3}
    assert not playlist.notes


def test_no_track_and_no_artist_comes_twice(tracks: Tracks) -> None:
    playlist = asked(tracks, seeds=[name(1), name(2)], length=60)

    artists = [artist for one in playlist.tracks for artist in one.artists]
    assert len(set(ids(playlist))) == len(set(artists)) == 60


def test_a_path_begins_and_ends_as_asked_and_changes_over_between(tracks: Tracks) -> None:
    playlist = asked(tracks, **{"from": name(4), "to": name(7)}, length=16)

    assert (ids(playlist)[0], ids(playlist)[-1]) == (name(4), name(7))
    groups = [group_of(one) for one in ids(playlist)]
    assert groups[:5] == [4] * 5
    assert groups[-5:] == [7] * 5
    vectors = tracks.snapshot.vectors([f"ada\n{one}" for one in ids(playlist)], "audio")
    nearness = vectors @ (vectors[-1] - vectors[0])
    assert np.corrcoef(nearness, np.arange(16))[0, 1] > 0.8


def test_the_energy_follows_the_curve(tracks: Tracks) -> None:
    for curve in ("rising", "falling", "arc", [0.9, 0.1, 0.9]):
        playlist = asked(tracks, seeds=[name(5)], length=15, energyCurve=curve)
        energies = [one.energy for one in playlist.tracks]
        values = {"rising": [0.2, 0.9], "falling": [0.9, 0.2], "arc": [0.3, 0.9, 0.3]}.get(str(curve), curve)
        wanted = np.interp(np.linspace(0, 1, 15), np.linspace(0, 1, len(values)), np.asarray(values, float))
        assert np.abs(np.asarray(energies, float) - wanted).mean() < 0.1, curve


def test_a_steady_curve_keeps_the_energy_of_what_was_named(tracks: Tracks) -> None:
    playlist = asked(tracks, seeds=[name(6)], length=12, energyCurve="steady")

    level = tracks.entries[f"ada\n{name(6)}"].attributes["energy"]
    assert np.abs(np.asarray([one.energy for one in playlist.tracks], float) - level).mean() < 0.1


def test_tracks_follow_each_other_more_smoothly_than_by_chance(tracks: Tracks) -> None:
    tempi = np.asarray([one.tempo for one in asked(tracks, seeds=[name(8)], length=30).tracks], float)

    octaves = np.abs(np.diff(np.log2(tempi)))
    assert np.minimum(octaves % 1, -octaves % 1).mean() < 0.12  # 0.25 by chance


def test_the_same_request_gives_the_same_playlist(tracks: Tracks) -> None:
    assert asked(tracks, seeds=[name(9)], energyCurve="arc") == asked(tracks, seeds=[name(9)], energyCurve="arc")


def test_too_few_artists_are_said_and_kept_apart(tmp_path: Path) -> None:
    few = published(tmp_path, made_tracks(300, artists=4))

    playlist = asked(few, seeds=[name(0)], length=20)

    assert len(set(ids(playlist))) == 20
    assert all(one.artists != two.artists for one, two in pairwise(playlist.tracks))
    assert playlist.notes == ("There are too few artists near this, so some stand more than once, never in a row.",)


def test_two_named_ends_of_one_artist_are_no_lack_of_others(tmp_path: Path) -> None:
    entries = made_tracks(600)
    group = [entry for entry in entries if group_of(entry.id.partition("\n")[2]) == 3][:2]
    ends = [made_track(name, one.vectors["audio"], artists=("Same",)) for name, one in zip("ab", group, strict=True)]
    made = published(tmp_path, [*entries, *ends])

    playlist = asked(made, **{"from": "a", "to": "b"}, length=12)

    assert playlist.notes == ("The first and the last track are by one artist, as they were asked for.",)
    artists = [artist for one in playlist.tracks[:-1] for artist in one.artists]
    assert len(set(artists)) == len(artists)


def test_what_sounds_otherwise_is_not_said_to_be_alike(tmp_path: Path) -> None:
    sound = np.random.default_rng(3).standard_normal((6, DIMENSIONS)).astype(np.float32)
    made = published(tmp_path, [made_track(f"t{n}", one, artists=(f"Artist {n}",)) for n, one in enumerate(sound)])

    playlist = asked(made, seeds=["t0"], length=6)

    for one in playlist.tracks:
        assert ("unlike what is wanted here" in one.why) == (round(one.fit, 2) <= 0)
        assert ("unlike the one before" in one.why) == (one.similarity is not None and round(one.similarity, 2) <= 0)
    assert any("unlike" in one.why for one in playlist.tracks)
    assert "-" not in "".join(one.why for one in playlist.tracks)


def test_artists_further_away_are_taken_before_one_comes_twice(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    near = [made_track(f"near-{n:04d}", np.float32(1) + vector(chance), artists=("One",)) for n in range(600)]
    far = [made_track(f"far-{n:04d}", vector(chance) - np.float32(1), artists=(f"Other {n}",)) for n in range(30)]
    tracks = published(tmp_path, [*near, *far])

    playlist = asked(tracks, seeds=["near-0000"], length=20)

    assert len({one.artists for one in playlist.tracks}) == 20
    assert not playlist.notes


def vector(chance: np.random.Generator) -> Any:
    return chance.standard_normal(DIMENSIONS).astype(np.float32)


def test_one_artist_alone_is_said(tmp_path: Path) -> None:
    playlist = asked(published(tmp_path, made_tracks(50, artists=1)), seeds=[name(0)], length=5)

    assert len(set(ids(playlist))) == 5
    assert "4 times one stands twice in a row" in playlist.notes[0]


def test_fewer_tracks_than_asked_for_are_said(tmp_path: Path) -> None:
    playlist = asked(published(tmp_path, made_tracks(12)), **{"from": name(1), "to": name(2)}, length=30)

    assert len(set(ids(playlist))) == 12
    assert (ids(playlist)[0], ids(playlist)[-1]) == (name(1), name(2))
    assert "Only 12 different tracks are to be found; 30 were asked for." in playlist.notes


def test_copies_of_other_users_and_equal_titles_are_the_same_track(tmp_path: Path) -> None:
    chance = np.random.default_rng(4)
    base = vector(chance)
    entries = [
        made_track(f"t{n}", base + vector(chance), user=user, title=f"Title {n % 10}", artists=(f"Artist {n % 10}",))
        for n in range(20)
        for user in ("ada", "bob")
    ]

    playlist = asked(published(tmp_path, entries), seeds=["t3"], length=40)

    assert len(playlist.tracks) == 10
    assert len({one.title for one in playlist.tracks}) == 10


def test_only_own_tracks_where_that_is_asked_for(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    entries = [made_track(f"t{n}", vector(chance), user="ada" if n < 8 else "bob") for n in range(40)]

    playlist = asked(published(tmp_path, entries), seeds=["t1", "t20"], length=8, ownOnly=True)

    assert {one.user_id for one in playlist.tracks} == {"ada"}


def test_ids_that_differ_in_case_are_different_tracks(tmp_path: Path) -> None:
    chance = np.random.default_rng(6)
    entries = [made_track(one, vector(chance)) for one in ("aBc", "abc", "ABC", "x", "y")]

    playlist = asked(published(tmp_path, entries), **{"from": "ABC", "to": "abc"}, length=3)

    assert (ids(playlist)[0], ids(playlist)[-1]) == ("ABC", "abc")


def test_unknown_tracks_are_named(tracks: Tracks) -> None:
    playlist = asked(tracks, seeds=["no such one", name(3)], length=3)
    assert playlist.notes == ("Left out, because the index does not have their sound: 'no such one'.",)
    for wrong in ({"seeds": ["no such one"]}, {"from": "no such one"}, {"to": "no such one", "seeds": [name(1)]}):
        with pytest.raises(UnknownEntry, match="no such one"):
            asked(tracks, **wrong)


def test_tracks_without_tempo_key_energy_or_artist_can_be_chosen(tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    bare = published(tmp_path, [made_track(f"t{n}", vector(chance)) for n in range(30)])

    playlist = asked(bare, seeds=["t1"], length=10, energyCurve="rising")

    assert len(playlist.tracks) == 10
    assert playlist.notes == ("The energy of 10 tracks is not known.",)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_shortest_playlists(tracks: Tracks, length: int) -> None:
    assert len(asked(tracks, seeds=[name(1)], length=length, energyCurve="arc").tracks) == length
    assert ids(asked(tracks, **{"to": name(1)}, length=length))[-1] == name(1)
    assert ids(asked(tracks, **{"from": name(1)}, length=length))[0] == name(1)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"seeds": []},
        {"from": "a", "to": "b", "length": 1},
        {"from": "a", "to": "a"},
        {"seeds": ["a"], "energyCurve": []},
        {"seeds": ["a"], "energyCurve": [1.5]},
        {"seeds": ["a"], "energyCurve": [float("nan")]},
        {"seeds": ["a"], "energyCurve": "up"},
        {"seeds": ["a"], "length": 201},
    ],
)
def test_requests_that_can_not_be_are_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PlaylistRequest.model_validate(request_)
