"""The same music has the same features in whatever container it comes."""
# mypy: disable-error-code="import-untyped"

import os
from pathlib import Path

import pytest
import soxr

from workers.audio.decode import open_audio
from workers.audio.extractor import Extractor
from workers.audio.features import Features
from workers.audio.instruments import RATE

from .conftest import Floats, Writer

# Lossy codecs cut the treble and shape the noise, which shifts impressions a little.
_MOST_SHIFT = 0.08
_LEAST_LIKENESS = 0.985


def _analyse(path: Path) -> Features:
    with open_audio(os.fsencode(path)) as stream:
        extractor = Extractor(stream.rate, stream.channels)
        for block in stream.blocks():
            extractor.push(block)
    return extractor.finish()


@pytest.mark.parametrize(
    ("name", "rate"),
    [("music.flac", RATE), ("music.mp3", RATE), ("music.ogg", RATE), ("music.opus", 48000), ("music.m4a", RATE)],
)
def test_the_container_does_not_matter(name: str, rate: int, write: Writer, music: Floats) -> None:
    original = _analyse(write("music.wav", music))
    copy = _analyse(write(name, soxr.resample(music, RATE, rate), rate))
    assert copy.tempo.value == pytest.approx(original.tempo.value, rel=0.005)
    assert (copy.key.value, copy.mode.value) == (original.key.value, original.mode.value)
    assert copy.time_signature.value == original.time_signature.value
    assert copy.loudness.value == pytest.approx(original.loudness.value, abs=0.2)
    for feature in ("energy", "danceability", "valence", "acousticness", "instrumentalness", "speechiness"):
        assert getattr(copy, feature).value == pytest.approx(getattr(original, feature).value, abs=_MOST_SHIFT), feature
    assert original.vector is not None
    assert copy.vector is not None
    assert float(original.vector @ copy.vector) > _LEAST_LIKENESS
