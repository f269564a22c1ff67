"""What files say of themselves is read from every common container, and nonsense is passed over."""

from __future__ import annotations

import io
from typing import Any

import mutagen
import pytest
from mutagen.id3 import TIT2, TPE1, TSRC, UFID

from tests.broken_audio import encoded, written
from workers.audio.tags import Tags, name_key, read_tags

MBID = "b1a9c0e9-d987-4042-ae91-78d6a3267d69"
WANTED = Tags(title="Élan", artist="Ann", isrc="USUM72104140", recording_id=MBID, seconds=None)


def tagged(data: bytes, **values: Any) -> io.BytesIO:
    """Return the file with its tags set, in the way of its container."""
    file = io.BytesIO(data)
    found: Any = mutagen.File(file)
    if found.tags is None:
        found.add_tags()
    for name, value in values.items():
        found[name.replace("__", ":")] = value
    file.seek(0)
    found.save(file)
    return file


def test_vorbis_comments_are_read() -> None:
    values = {"title": "Élan", "artist": "Ann", "isrc": "us-um7-21-04140", "musicbrainz_trackid": MBID.upper()}
    found = read_tags(tagged(written("FLAC"), **values))

    assert found is not None
    assert found.seconds is not None
    assert found == Tags(**{**vars(WANTED), "seconds": found.seconds})
    assert found.seconds > 0


@pytest.mark.parametrize("data", [encoded("mp3", "libmp3lame"), written("WAV")], ids=["mp3", "wav"])
def test_id3_frames_are_read(data: bytes) -> None:
    frames = {
        "TIT2": TIT2(encoding=3, text=["Élan"]),  # type: ignore[no-untyped-call]
        "TPE1": TPE1(encoding=3, text=["Ann"]),  # type: ignore[no-untyped-call]
        "TSRC": TSRC(encoding=3, text=["USUM72104140"]),  # type: ignore[no-untyped-call]
        "UFID__http://musicbrainz.org": UFID(owner="http://musicbrainz.org", data=MBID.encode()),  # type: ignore[no-untyped-call]
    }
    found = read_tags(tagged(data, **frames))

    assert found is not None
    assert (found.title, found.artist, found.isrc, found.recording_id) == ("Élan", "Ann", "USUM72104140", MBID)


def test_mp4_atoms_are_read() -> None:
    values = {
        "\xa9nam": "Élan",
        "\xa9ART": "Ann",
        "----__com.apple.iTunes__ISRC": b"USUM72104140",
        "----__com.apple.iTunes__MusicBrainz Track Id": MBID.encode(),
    }
    found = read_tags(tagged(encoded("mp4", "aac"), **values))

    assert found is not None
    assert (found.title, found.artist, found.isrc, found.recording_id) == ("Élan", "Ann", "USUM72104140", MBID)


def test_codes_that_can_be_none_are_none() -> None:
    found = read_tags(tagged(written("FLAC"), title=" ", isrc="unknown", musicbrainz_trackid="7"))

    assert found is not None
    assert (found.title, found.isrc, found.recording_id) == (None, None, None)


@pytest.mark.parametrize("data", [b"", b"no audio", written("FLAC")[:50], b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"])
def test_what_is_broken_says_nothing(data: bytes) -> None:
    found = read_tags(io.BytesIO(data))
    assert found is None or found.title is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Für Elise", "fur elise"),
        ("Song (feat. Ann)", "Song"),
        ("Song ft. Ann", "song"),
        ("Song - Remastered 2011", "Song"),
        ("Song [2011 Remaster]", "Song"),
        ("Don't  Stop!", "Don t stop"),
    ],
)
def test_spellings_of_a_name_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other) != ""


@pytest.mark.parametrize(("one", "other"), [("Song", "Song II"), ("Live", "Alive"), ("Song (Live)", "Song")])
def test_names_of_different_things_differ(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)
