"""Speech is told from music and from speech over music, at any gain and without being led astray by pauses."""
# mypy: disable-error-code="import-untyped"

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from workers.audio import instruments
from workers.audio.neural import speech
from workers.audio.neural.recipes import RECIPES
from workers.audio.neural.speech import EXCERPT_SECONDS, MUSIC, SPOKEN, Speech
from workers.audio.spectrum import RATE
from workers.audio.synthesis import render_demo
from workers.models import build, runtime

from .conftest import Floats

STORY = (
    "The quick brown fox jumps over the lazy dog. When the sunlight strikes raindrops in the air, they act as a prism"
    " and form a rainbow. There is, according to legend, a boiling pot of gold at one end. People look, but no one ever"
    " finds it."
)

FORKS = """
import os, sys
import numpy as np
from workers.audio.neural import speech

def in_a_child(expected):
    child = os.fork()
    if not child:
        os._exit(0 if speech.measure(noise).probability == expected else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

noise = np.random.default_rng(2).standard_normal(5 * 22050, dtype=np.float32)
expected = float(sys.argv[1])
sys.exit(in_a_child(expected) or speech.measure(noise).probability != expected or in_a_child(expected))
"""


@pytest.fixture(scope="module", autouse=True)
def _model() -> None:
    if not runtime.is_installed(speech.MODEL):
        recipes = tuple(recipe for recipe in RECIPES if recipe.name == speech.MODEL)
        list(build.build(runtime.models_folder(), recipes))


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Floats:
    """Some 15 s of an English story at unit RMS."""
    return _spoken(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def song() -> Floats:
    """20 s of music at unit RMS."""
    return _song("turnpike")


def _song(title: str) -> Floats:
    mono = render_demo(title, seconds=20).mean(axis=1)
    resampled: Floats = soxr.resample(mono, instruments.RATE, RATE)
    return _unit(resampled)


def _spoken(folder: Path, *, language: str = "en", speed: int = 160, text: str = STORY) -> Floats:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    path = folder / f"{language}-{speed}.wav"
    subprocess.run(["espeak-ng", "-v", language, "-s", str(speed), "-w", path, text], check=True, timeout=30)
    samples, rate = soundfile.read(path, dtype="float32")
    resampled: Floats = soxr.resample(samples, rate, RATE)
    return _unit(resampled)


def _unit(mono: Floats) -> Floats:
    centred = mono - mono.mean()
    result: Floats = (centred / np.sqrt(np.mean(centred**2))).astype(np.float32)
    return result


def _noise(seconds: float) -> Floats:
    result: Floats = np.random.default_rng(1).standard_normal(int(seconds * RATE), dtype=np.float32)
    return result


def _tone(seconds: float) -> Floats:
    time = np.arange(int(seconds * RATE)) / RATE
    return _unit(np.sin(2 * np.pi * 220 * time).astype(np.float32))


def _value(found: Speech) -> float:
    assert found.speechiness.value is not None
    return found.speechiness.value


@pytest.mark.parametrize(("language", "speed"), [("en", 110), ("en", 240), ("de", 160), ("fr", 160), ("ru", 160)])
def test_a_read_story_is_spoken_word(tmp_path: Path, language: str, speed: int) -> None:
    found = speech.measure(_spoken(tmp_path, language=language, speed=speed))

    assert _value(found) > 0.85
    assert found.speechiness.confidence > 0.85
    assert found.share > 0.7
    assert found.longest_run > 1


@pytest.mark.parametrize("title", ["turnpike", "nightbus", "meadow", "carousel"])
def test_music_is_not(title: str) -> None:
    found = speech.measure(_song(title))

    assert _value(found) < 0.1
    assert found.speechiness.confidence > 0.9
    assert found.clearance is None


@pytest.mark.parametrize("sound", [_noise(10), _tone(10)], ids=["noise", "tone"])
def test_noise_and_tones_are_no_speech(sound: Floats) -> None:
    assert _value(speech.measure(sound)) < 0.05


@pytest.mark.parametrize(("ratio", "low", "high"), [(25, SPOKEN, 1.0), (3, MUSIC, SPOKEN), (-20, 0.0, MUSIC)])
def test_speech_over_music_falls_with_the_music(
    voice: Floats, song: Floats, ratio: float, low: float, high: float
) -> None:
    # given a voice so many dB above the music
    length = min(len(voice), len(song))
    mixed = _unit(voice[:length] + song[:length] * np.float32(10 ** (-ratio / 20)))

    found = speech.measure(mixed)

    assert low <= _value(found) < high


def test_speech_and_music_in_turn_lie_between(voice: Floats, song: Floats) -> None:
    length = min(len(voice), len(song))
    in_turn = _unit(np.concatenate([voice[:length], song[:length]] * 2))

    assert MUSIC < _value(speech.measure(in_turn)) < SPOKEN


def test_pauses_do_not_make_it_less_spoken(voice: Floats) -> None:
    # given three seconds of near-silence after every three of speech
    hush = _noise(3) * np.float32(1e-3)
    parts = [np.concatenate((voice[start : start + 3 * RATE], hush)) for start in range(0, 12 * RATE, 3 * RATE)]

    found = speech.measure(_unit(np.concatenate(parts)))

    assert found.share < 0.6
    assert found.sounding_share > 0.85
    assert _value(found) > SPOKEN


@pytest.mark.parametrize("gain", [0.03, 0.1, 10.0])
def test_a_voice_far_from_the_recordings_mean_level_is_still_heard(voice: Floats, gain: float) -> None:
    assert _value(speech.measure(voice * np.float32(gain))) > 0.75


def test_a_clip_of_a_second_is_less_certain_than_a_story(voice: Floats) -> None:
    start = 2 * RATE
    clip = speech.measure(_unit(voice[start : start + int(1.2 * RATE)]))

    assert clip.heard == pytest.approx(1.2, abs=0.05)
    assert clip.speechiness.confidence < speech.measure(voice).speechiness.confidence


def test_the_padding_of_a_short_clip_is_no_pause(voice: Floats) -> None:
    # given two seconds of speech over noise, whose excerpt is filled up with zeros
    length = 2 * RATE
    noisy = _unit(voice[RATE : RATE + length] + _noise(2) * np.float32(0.5))

    clearance = speech.measure(noisy).clearance

    assert clearance is not None
    assert clearance < 20


@pytest.mark.parametrize(
    ("mono", "reason"),
    [
        (np.empty(0, np.float32), "too_short"),
        (_noise(0.9), "too_short"),
        (np.zeros(5 * RATE, np.float32), "silence"),
    ],
    ids=["empty", "short", "silent"],
)
def test_without_enough_sound_there_is_a_reason(mono: Floats, reason: str) -> None:
    found = speech.measure(mono)

    assert found.speechiness.value is None
    assert found.speechiness.reason == reason


def test_a_long_recording_is_sampled_over_its_length() -> None:
    found = speech.measure(_noise(300))

    assert found.heard == pytest.approx(60, abs=0.5)


@pytest.mark.parametrize("seconds", [1.0, 4.99, 5.0, 5.01, 9.99, 61.0])
def test_any_length_is_measured(seconds: float) -> None:
    found = speech.measure(_noise(seconds))

    assert 0.95 * min(seconds, EXCERPT_SECONDS) - 0.04 < found.heard <= seconds
    assert 0 <= _value(found) < 0.2


def test_the_same_samples_give_the_same_answer(song: Floats) -> None:
    assert speech.measure(song) == speech.measure(song)


def test_processes_forked_before_and_after_the_model_was_opened_can_use_it() -> None:
    noise = np.random.default_rng(2).standard_normal(5 * RATE, dtype=np.float32)
    expected = speech.measure(noise).probability

    subprocess.run([sys.executable, "-c", FORKS, repr(expected)], check=True, timeout=60)


def test_a_model_that_was_not_built_names_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, song: Floats
) -> None:
    monkeypatch.setenv(runtime.MODELS_VARIABLE, str(tmp_path))
    runtime.open_model.cache_clear()

    with pytest.raises(runtime.ModelMissing, match=r"workers\.models"):
        speech.measure(song)
