"""Keys are found where there is harmony: through drums and modulations, at any pitch, and nowhere else."""
# mypy: disable-error-code="import-untyped"

import numpy as np
import pytest
import soxr

from workers.audio import chroma, harmony, instruments
from workers.audio.harmony import Harmony
from workers.audio.instruments import TIMBRES
from workers.audio.spectrum import RATE
from workers.audio.synthesis import render_demo

from .conftest import Floats

C, G, A = 0, 7, 9
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
BAR = 2.0  # seconds
# chords as (root above the tonic, shape)
CADENCE = ((0, MAJOR), (5, MAJOR), (7, MAJOR), (0, MAJOR))
MINOR_CADENCE = ((0, MINOR), (5, MINOR), (7, MAJOR), (0, MINOR))
LOOP = ((9, MINOR), (5, MAJOR), (0, MAJOR), (7, MAJOR))  # a minor chord first: major or its relative minor


def _played(chords: tuple[tuple[int, tuple[int, ...]], ...], tonic: int = C, timbre: str = "piano") -> Floats:
    """Return chords of a bar each over their bass note, at the instruments' rate."""
    bars = []
    for root, shape in chords:
        bass = 36 + (tonic + root) % 12
        pitches = (bass, *(60 + (tonic + root + step) % 12 for step in shape))
        bars.append(np.sum([instruments.note(TIMBRES[timbre], pitch, BAR) for pitch in pitches], axis=0))
    return np.concatenate(bars)


def _drums(seconds: float) -> Floats:
    """Return kick, snare and hi-hat at 120 BPM, at the instruments' rate."""
    track = np.zeros(int((seconds + 1) * instruments.RATE), np.float32)
    for step in range(int(seconds * 4)):
        sounds = [instruments.hat() * 0.6]
        sounds += [instruments.kick()] if step % 4 == 0 else []
        sounds += [instruments.snare()] if step % 4 == 2 else []
        for sound in sounds:
            start = step * instruments.RATE // 4
            track[start : start + len(sound)] += sound
    return track[: int(seconds * instruments.RATE)]


def _estimate(samples: Floats, rate: float = instruments.RATE) -> Harmony:
    """Return what is heard in samples; another rate than they were made for plays them at another pitch."""
    return harmony.estimate(_unit(soxr.resample(samples, rate, RATE)))


def _unit(mono: Floats) -> Floats:
    result: Floats = (mono / np.sqrt(np.mean(mono**2))).astype(np.float32)
    return result


def _key(heard: Harmony) -> tuple[float | None, float | None]:
    return heard.key.value, heard.mode.value


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("chords", "mode"), [(CADENCE, 1), (MINOR_CADENCE, 0)], ids=["major", "minor"])
def test_a_cadence_is_in_the_key_it_ends_in(
    chords: tuple[tuple[int, tuple[int, ...]], ...], mode: int, tonic: int
) -> None:
    assert _key(_estimate(_played(chords * 2, tonic))) == (tonic, mode)


@pytest.mark.parametrize("level", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("chords", "tonic", "mode"), [(CADENCE, C, 1), (MINOR_CADENCE, A, 0)], ids=["C", "a"])
def test_drums_do_not_hide_the_key(
    chords: tuple[tuple[int, tuple[int, ...]], ...], tonic: int, mode: int, level: float
) -> None:
    music = _played(chords * 3, tonic)
    mixed = music + np.float32(level * np.abs(music).max()) * _drums(len(music) / instruments.RATE)[: len(music)]

    assert _key(_estimate(mixed)) == (tonic, mode)


@pytest.mark.parametrize("semitones", [-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("title", ["harbour", "nightbus", "meadow", "hollow"])
def test_a_recording_played_at_another_pitch_keeps_its_key_and_mode(title: str, semitones: int) -> None:
    music = render_demo(title, seconds=20).mean(axis=1)
    plain = _estimate(music)
    assert plain.key.value is not None

    moved = _estimate(music, instruments.RATE * 2 ** (semitones / 12))

    assert _key(moved) == ((plain.key.value + semitones) % 12, plain.mode.value)


@pytest.mark.parametrize("cents", [-45, -30, -10, 0, 10, 30, 45])
def test_the_tuning_is_measured_through_drums(cents: int) -> None:
    music = _played(CADENCE * 2, timbre="organ")
    mixed = music + _drums(len(music) / instruments.RATE)[: len(music)]

    heard = _estimate(mixed, instruments.RATE * 2 ** (cents / 1200))

    assert heard.tuning == pytest.approx(cents / 100, abs=0.04)
    assert _key(heard) == (C, 1)


def test_a_piece_that_modulates_to_the_dominant_is_in_the_key_it_began_in() -> None:
    piece = np.concatenate((_played(CADENCE * 2, C), _played(CADENCE * 3, G)))

    assert _key(_estimate(piece)) == (C, 1)


def test_the_opening_and_the_last_chord_tell_a_key_from_its_relative() -> None:
    dominant = (4, MAJOR)  # E major, which leads to A minor
    major = _played((CADENCE[0], *LOOP * 2, dominant, CADENCE[0]))
    minor = _played((LOOP[0], *LOOP * 2, dominant, LOOP[0]))

    assert _key(_estimate(major)) == (C, 1)
    assert _key(_estimate(minor)) == (A, 0)


def test_a_clear_cadence_is_more_certain_than_an_open_loop() -> None:
    clear = _estimate(_played(CADENCE * 3))
    open_ended = _estimate(_played(LOOP * 3))

    assert clear.key.confidence > open_ended.key.confidence + 0.05


def test_the_mode_is_at_least_as_certain_as_the_key() -> None:
    # keys a fifth apart share their mode
    for chords in (CADENCE * 2, MINOR_CADENCE * 2, LOOP * 2):
        heard = _estimate(_played(chords))
        assert heard.mode.confidence >= heard.key.confidence


@pytest.mark.parametrize("timbre", ["organ", "strings", "piano", "pluck", "flute"])
def test_a_chord_sounds_in_its_own_pitch_classes(timbre: str) -> None:
    heard = chroma.measure(_unit(soxr.resample(_played(((5, MAJOR),) * 3, timbre=timbre), instruments.RATE, RATE)))

    assert set(np.argsort(heard.overall)[-3:]) == {5, 9, 0}
    for shares in (heard.overall, heard.opening, heard.close):
        assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert heard.focus > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_drums_alone_have_no_key(seed: int) -> None:
    hits = np.random.default_rng(seed).choice([0.0, 0.5, 1.0], 3)
    noise = np.random.default_rng(seed).normal(0, 0.001, 20 * instruments.RATE).astype(np.float32)
    drums = _drums(20) * np.float32(0.5 + hits[0]) + noise

    assert _estimate(drums).key.value is None


@pytest.mark.parametrize("seed", range(4))
def test_a_gliding_voice_has_no_key(seed: int) -> None:
    chance = np.random.default_rng(seed)
    corners = chance.uniform(90, 250, 41)  # Hz, a new one every half second
    frequency = np.interp(np.arange(20 * RATE) / RATE, np.arange(41) / 2, corners)
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    voice = np.sum([np.sin(number * phase) / number for number in range(1, 9)], axis=0)

    heard = harmony.estimate(_unit(voice))

    assert heard.key.value is None


@pytest.mark.parametrize("seed", range(6))
def test_every_note_as_often_as_any_other_is_no_key(seed: int) -> None:
    chance = np.random.default_rng(seed)
    pitches = chance.permutation(np.repeat(np.arange(57, 69), 5))
    notes = [instruments.note(TIMBRES["flute"], int(pitch), 0.3) for pitch in pitches]

    assert _estimate(np.concatenate(notes)).key.reason == "ambiguous"


@pytest.mark.parametrize("samples", [0, 100, 8191, 8192, 4 * RATE])
def test_silence_of_any_length_has_no_key_and_an_empty_chroma(samples: int) -> None:
    heard = harmony.estimate(np.zeros(samples, np.float32))

    assert heard.key.value is None
    assert not heard.chroma.any()
    assert heard.tuning == 0
