"""Tempo, beats and metre of signals whose truth is exact."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from workers.audio import onsets, rhythm
from workers.audio.beats import CURVE_STEP
from workers.audio.extractor import unit_rms
from workers.audio.instruments import RATE as DEMO_RATE
from workers.audio.instruments import hat, kick, snare
from workers.audio.rhythm import Rhythm
from workers.audio.spectrum import RATE, Floats


def _heard(signal: Floats) -> Rhythm:
    return rhythm.estimate(onsets.detect(unit_rms(signal.astype(np.float32))))


def _clicks(times: Sequence[float], seconds: float) -> Floats:
    signal = np.zeros(int(seconds * RATE), np.float32)
    click = np.sin(np.arange(200) * 0.4).astype(np.float32)
    for start in (int(time * RATE) for time in times):
        signal[start : start + 200] += click[: len(signal) - start]
    return signal


def _metronome(tempo: float, seconds: float = 20) -> Floats:
    return _clicks(list(np.arange(0, seconds, 60 / tempo)), seconds)


def _accelerating(first: float, last: float, seconds: float) -> list[float]:
    times = [0.0]
    while times[-1] < seconds - 1:
        times.append(times[-1] + 60 / (first + (last - first) * times[-1] / seconds))
    return times


def _bars(pattern: str, tempo: float, *, bars: int = 16) -> Floats:
    """Return drums, a letter a half beat: k for kick, s for snare, h for hat, all with a hat."""
    step = 30 / tempo
    signal = np.zeros(int((len(pattern) * bars * step + 1) * DEMO_RATE), np.float32)
    chance = np.random.default_rng(3)
    for number, letter in enumerate(pattern * bars):
        start = int(number * step * DEMO_RATE)
        for sound in {"k": (kick(), hat()), "s": (snare(), hat()), "h": (hat(),), ".": ()}[letter]:
            signal[start : start + len(sound)] += sound[: len(signal) - start] * chance.uniform(0.8, 1)
    halved: Floats = signal[: len(signal) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return halved


@pytest.mark.parametrize("tempo", [45, 60, 85, 100, 120, 140, 160, 180, 200])
def test_a_metronome_is_followed_from_slow_to_fast(tempo: int) -> None:
    heard = _heard(_metronome(tempo))

    assert heard.tempo.value == pytest.approx(tempo, rel=0.003)
    misses = (heard.beats * tempo / 60 + 0.5) % 1 - 0.5
    assert np.abs(misses * 60 / tempo).max() < 0.03


@pytest.mark.parametrize(("first", "last"), [(100, 115), (120, 108)])
def test_beats_follow_a_drifting_tempo(first: int, last: int) -> None:
    times = np.array(_accelerating(first, last, 60))

    heard = _heard(_clicks(list(times), 60))

    distance = np.abs(times[:, None] - heard.beats).min(axis=1)
    assert np.mean(distance < 0.04) > 0.98
    assert heard.tempo.value == pytest.approx((first + last) / 2, rel=0.04)
    assert 1 <= len(heard.beats) - len(times) + 1 <= 2


@pytest.mark.parametrize(("first", "last"), [(100, 115), (120, 108)])
def test_the_tempo_curve_follows_a_drifting_tempo(first: int, last: int) -> None:
    heard = _heard(_clicks(_accelerating(first, last, 60), 60))

    middles = heard.beats[0] + CURVE_STEP * np.arange(len(heard.tempo_curve))
    true = first + (last - first) * np.clip(middles, 5, 55) / 60
    assert 11 <= len(heard.tempo_curve) <= 12
    assert heard.tempo_curve == pytest.approx(true, rel=0.015)
    assert heard.tempo_curve.dtype == np.float32


def test_the_tempo_curve_of_a_steady_piece_is_flat_at_its_tempo() -> None:
    heard = _heard(_bars("khshkhsh", 118))

    assert heard.tempo_curve == pytest.approx(118, rel=0.004)


def test_a_clip_of_a_few_beats_has_one_value_a_step() -> None:
    heard = _heard(_metronome(120, 7))

    assert heard.tempo_curve == pytest.approx([120, 120], rel=0.01)


def test_a_gap_in_the_music_is_bridged_by_even_beats() -> None:
    signal = _metronome(110, 30)
    signal[12 * RATE : 17 * RATE] = 0

    heard = _heard(signal)

    assert np.diff(heard.beats) == pytest.approx(60 / 110, abs=0.06)


@pytest.mark.parametrize(
    ("pattern", "metre"),
    [
        ("khshkhsh", 4),
        ("k.s.kks.", 4),
        ("khshsh", 3),
        ("k.h.h.", 3),
    ],
)
@pytest.mark.parametrize("tempo", [88, 126])
def test_drums_have_their_tempo_and_metre(pattern: str, metre: int, tempo: int) -> None:
    heard = _heard(_bars(pattern, tempo))

    assert heard.tempo.value == pytest.approx(tempo, rel=0.01)
    assert heard.time_signature.value == metre


@pytest.mark.parametrize(("pattern", "metre"), [("khhhhhshhh", 5), ("khhhhhshhhshhh", 7)])
def test_odd_bars_are_told_where_they_are_plain(pattern: str, metre: int) -> None:
    assert _heard(_bars(pattern, 126)).time_signature.value == metre


def test_a_house_beat_is_not_halved() -> None:
    heard = _heard(_bars("khkhkhkh", 132))

    assert heard.tempo.value == pytest.approx(132, rel=0.01)


def test_the_alternative_is_another_tempo_and_less_likely() -> None:
    heard = _heard(_bars("khshkhsh", 100))

    assert heard.tempo.value is not None
    assert heard.alternative.value is not None
    assert abs(np.log(heard.alternative.value / heard.tempo.value)) > np.log(1.04)
    assert heard.alternative.confidence < heard.tempo.confidence
    assert heard.alternative.confidence + heard.tempo.confidence <= 1


def test_an_ambiguous_tempo_is_stated_with_less_confidence() -> None:
    plain = _heard(_bars("khshkhsh", 110))
    sparse = _heard(_bars("k.......", 110))

    assert sparse.tempo.confidence < plain.tempo.confidence


@pytest.mark.parametrize("seconds", [3.5, 4, 6, 10, 30])
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_noise_of_any_colour_and_length_has_no_tempo(seconds: float, colour: int) -> None:
    chance = np.random.default_rng(int(10 * seconds) + colour)
    spectrum = np.fft.rfft(chance.normal(size=int(seconds * RATE)))
    noise = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (colour / 2))

    heard = _heard(noise.astype(np.float32))

    assert (heard.tempo.value, heard.tempo.reason) == (None, "no_onsets")


@pytest.mark.parametrize("a_second", [1, 3, 8, 20])
@pytest.mark.parametrize("seconds", [10, 40])
def test_events_at_random_times_have_no_tempo(a_second: int, seconds: int) -> None:
    times = np.random.default_rng(a_second).uniform(0, seconds - 0.1, a_second * seconds)

    heard = _heard(_clicks(list(times), seconds))

    assert heard.tempo.reason == "no_regular_pulse"
    assert heard.beats.size == heard.tempo_curve.size == 0


def test_a_clip_too_short_for_bars_has_a_tempo_but_no_metre() -> None:
    heard = _heard(_metronome(60, 5.5))

    assert heard.time_signature.value is None
    assert heard.time_signature.reason in {"too_short", "no_regular_pulse"}


def test_soft_attacks_are_enough_for_a_tempo() -> None:
    step, count = 60 / 96, 48
    seconds = step * count
    time = np.arange(int(seconds * RATE)) / RATE
    swell = np.minimum(1, np.minimum(time % step, step - time % step) / 0.06)
    pitches = 220 * 2 ** (np.random.default_rng(1).integers(0, 12, count) / 12)
    phase = np.cumsum(pitches[(time / step).astype(int).clip(0, count - 1)]) * 2 * np.pi / RATE

    heard = _heard((swell * np.sin(phase)).astype(np.float32))

    ratios = np.array([0.5, 1, 2]) * 96
    assert heard.tempo.value is not None
    assert np.abs(heard.tempo.value / ratios - 1).min() < 0.01


def test_beats_ascend_and_lie_within_the_signal() -> None:
    heard = _heard(_bars("khshkhsh", 118))

    assert all(later > earlier for earlier, later in pairwise(heard.beats))
    assert heard.beats[0] >= -0.05
    assert heard.beats.dtype == np.float32
