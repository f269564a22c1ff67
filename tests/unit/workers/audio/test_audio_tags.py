"""Tags follow the sound of a recording, whatever its gain, length or container."""
# mypy: disable-error-code="import-untyped"

from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import soxr

from workers.audio import instruments
from workers.audio.neural import leanings, tags
from workers.audio.neural.mel import PATCH_SAMPLES, log_mel
from workers.audio.neural.recipes import RECIPES
from workers.audio.neural.tags import VOCABULARY, Tags, tag
from workers.audio.spectrum import RATE
from workers.models import build, runtime

from .conftest import Floats, Writer

Leaning = Callable[[Tags], float]


@pytest.fixture(scope="module", autouse=True)
def _model() -> None:
    if not runtime.is_installed(tags.MODEL):
        recipes = tuple(recipe for recipe in RECIPES if recipe.name == tags.MODEL)
        list(build.build(runtime.models_folder(), recipes))


def _mono(samples: Floats, rate: int = instruments.RATE) -> Floats:
    """What the kernel hands on: one channel of unit RMS."""
    mixed = soxr.resample(samples.mean(axis=1) if samples.ndim == 2 else samples, rate, RATE)
    centred = mixed - mixed.mean()
    return np.asarray(centred / np.sqrt(np.mean(centred**2)), np.float32)


def _noise(seconds: float) -> Floats:
    return np.random.default_rng(3).standard_normal(int(seconds * RATE), dtype=np.float32)


def _named(**probabilities: float) -> Tags:
    """Tags of these probabilities, 0.01 for all others."""
    values = [probabilities.get(word.replace(" ", "_"), 0.01) for word in VOCABULARY]
    return Tags(probabilities=np.asarray(values, np.float32), embedding=np.ones(200, np.float32), patches=5)


def _cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@pytest.fixture(scope="module")
def heard(music: Floats) -> Tags:
    return tag(_mono(music))


def test_the_spectrogram_is_the_one_of_the_training() -> None:
    # Given a tone and a rising tone; the literals are librosa 0.11's
    time = np.arange(PATCH_SAMPLES)
    rising = 0.05 * np.sin(2 * np.pi * (500 + time / 32) * time / 16000)
    samples = (0.2 * np.sin(2 * np.pi * 440 * time / 16000) + rising).astype(np.float32)

    spectrogram = log_mel(samples)

    assert spectrogram.shape == (187, 96)
    for frame, band, value in [(0, 13, 5.2917), (0, 15, 4.1839), (60, 43, 3.9120), (93, 53, 3.8266), (186, 70, 3.6502)]:
        assert spectrogram[frame, band] == pytest.approx(value, abs=1e-3)
    assert spectrogram[186, 95] == pytest.approx(0, abs=1e-3)


def test_plucked_strings_are_called_a_guitar(heard: Tags) -> None:
    assert heard.top(1) == [("guitar", heard["guitar"])]
    assert leanings.acoustic(heard) > 0.7
    assert leanings.voices(heard) < 0.5


def test_probabilities_and_embedding_have_their_shapes(heard: Tags) -> None:
    assert heard.probabilities.shape == (len(VOCABULARY),)
    assert np.all((heard.probabilities >= 0) & (heard.probabilities <= 1))
    assert heard.embedding.shape == (200,)
    assert heard.embedding.dtype == np.float32


@pytest.mark.parametrize(("seconds", "patches"), [(2, 1), (3, 1), (10, 3), (40, 5)])
def test_a_short_recording_is_heard_in_fewer_patches(seconds: float, patches: int) -> None:
    found = tag(_noise(seconds))
    assert found.patches == patches
    assert np.isfinite(found.embedding).all()


def test_the_gain_does_not_matter(music: Floats, heard: Tags) -> None:
    quiet = tag(_mono(music * np.float32(0.01)))
    np.testing.assert_allclose(quiet.probabilities, heard.probabilities, atol=1e-4)


@pytest.mark.parametrize("name", ["music.mp3", "music.ogg"])
def test_the_container_hardly_matters(write: Writer, music: Floats, heard: Tags, name: str) -> None:
    samples, rate = soundfile.read(write(name, music), dtype="float32")
    found = tag(_mono(samples, rate))
    assert _cosine(found.probabilities, heard.probabilities) > 0.97
    assert _cosine(found.embedding, heard.embedding) > 0.95


@pytest.mark.parametrize(
    ("leaning", "towards", "away"),
    [
        (leanings.voices, _named(female=0.3, singing=0.2, vocals=0.2), _named(no_vocals=0.2, no_vocal=0.15)),
        (leanings.acoustic, _named(violin=0.4, classical=0.4), _named(techno=0.5, electronic=0.4, beat=0.3)),
        (leanings.acoustic, _named(guitar=0.5, flute=0.2), _named(guitar=0.3, rock=0.6, metal=0.4, loud=0.3)),
        (leanings.cheer, _named(fast=0.4, dance=0.2), _named(slow=0.4, ambient=0.3, quiet=0.2)),
        (leanings.dance, _named(techno=0.5, beat=0.4, dance=0.2), _named(slow=0.3, classical=0.4)),
    ],
)
def test_each_leaning_follows_its_words(leaning: Leaning, towards: Tags, away: Tags) -> None:
    assert 0.7 < leaning(towards) <= 1
    assert 0 <= leaning(away) < 0.3


@pytest.mark.parametrize("leaning", [leanings.voices, leanings.acoustic, leanings.cheer, leanings.dance])
def test_a_leaning_is_never_certain_where_no_word_fits(leaning: Leaning) -> None:
    silent = Tags(probabilities=np.zeros(50, np.float32), embedding=np.zeros(200, np.float32), patches=1)
    assert 0.1 < leaning(silent) < 0.75
