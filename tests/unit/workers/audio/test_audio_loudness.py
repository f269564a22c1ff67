"""Loudness agrees with the standard's reference signals at any rate and channel count."""

import numpy as np
import pytest

from workers.audio.loudness import Loudness, LoudnessMeter

from .conftest import Floats


def _sine(rate: int, *, level_db: float, frequency: float = 997.0, seconds: float = 10.0) -> Floats:
    time = np.arange(int(seconds * rate)) / rate
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def _measure(samples: Floats, rate: int, block: int = 65536) -> Loudness:
    meter = LoudnessMeter(rate, samples.shape[1])
    for start in range(0, len(samples), block):
        meter.push(samples[start : start + block])
    return meter.finish()


def _value(value: float | None) -> float:
    assert value is not None
    return value


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000, 96000, 192000])
def test_a_full_scale_sine_in_one_channel_measures_minus_3_01_lufs(rate: int) -> None:
    # BS.1770-4: "a 0 dB FS, 997 Hz sine wave applied to the left, centre or right channel: -3.01 LKFS"
    left = _sine(rate, level_db=0)
    samples = np.column_stack((left, np.zeros_like(left)))

    assert _value(_measure(samples, rate).integrated.value) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize("level", [-23.0, -33.0])
def test_a_stereo_sine_measures_its_peak_level(level: float) -> None:
    # EBU Tech 3341, cases 1 and 2: 1 kHz stereo sine of -23 and -33 dBFS peak for 20 s
    tone = _sine(48000, level_db=level, frequency=1000.0, seconds=20)

    loudness = _measure(np.column_stack((tone, tone)), 48000)

    assert _value(loudness.integrated.value) == pytest.approx(level, abs=0.1)


def test_quiet_passages_are_gated() -> None:
    # EBU Tech 3341, case 3: -36, -23, -36 dBFS for 10, 60, 10 s still measures -23
    parts = [_sine(48000, level_db=db, frequency=1000, seconds=s) for db, s in ((-36, 10), (-23, 60), (-36, 10))]
    tone = np.concatenate(parts)

    loudness = _measure(np.column_stack((tone, tone)), 48000)

    assert _value(loudness.integrated.value) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(("low", "high", "expected"), [(-20, -30, 10), (-20, -15, 5), (-40, -20, 20)])
def test_two_levels_make_a_range_of_their_difference(low: float, high: float, expected: float) -> None:
    # EBU Tech 3342, cases 1 to 3
    tone = np.concatenate([_sine(48000, level_db=db, frequency=1000, seconds=20) for db in (low, high)])

    loudness = _measure(np.column_stack((tone, tone)), 48000)

    assert _value(loudness.range.value) == pytest.approx(expected, abs=1)


def test_surround_channels_weigh_more_and_the_subwoofer_nothing() -> None:
    tone, nothing = _sine(48000, level_db=-20), np.zeros(480000, np.float32)

    def alone(channel: int, channels: int = 6) -> float | None:
        columns = [tone if at == channel else nothing for at in range(channels)]
        return _measure(np.column_stack(columns), 48000).integrated.value

    assert alone(3) is None
    assert _value(alone(4)) - _value(alone(0)) == pytest.approx(1.49, abs=0.02)
    # 5.0 has no subwoofer: its fourth channel is a surround
    assert _value(alone(3, channels=5)) - _value(alone(0)) == pytest.approx(1.49, abs=0.02)


def test_gain_moves_loudness_and_peak_by_the_same_decibels(music: Floats) -> None:
    plain, quiet = _measure(music, 44100), _measure(music * np.float32(0.1), 44100)

    assert _value(plain.integrated.value) - _value(quiet.integrated.value) == pytest.approx(20, abs=0.02)
    assert _value(plain.true_peak.value) - _value(quiet.true_peak.value) == pytest.approx(20, abs=0.02)
    assert quiet.range.value == pytest.approx(plain.range.value, abs=0.05)


@pytest.mark.parametrize("block", [1000, 4410, 50_000])
def test_the_size_of_blocks_does_not_matter(music: Floats, block: int) -> None:
    whole, parts = _measure(music, 44100), _measure(music, 44100, block)

    assert parts.integrated == whole.integrated
    assert parts.range == whole.range
    assert _value(parts.true_peak.value) == pytest.approx(_value(whole.true_peak.value), abs=0.1)


def test_the_true_peak_lies_between_the_samples() -> None:
    # EBU Tech 3341, case 16: a quarter of the rate with a phase of 45 degrees; its samples stay 3 dB below its peak
    time = np.arange(48000)
    wave = (0.5 * np.sin(np.pi / 2 * time + np.pi / 4)).astype(np.float32)

    peak = _measure(wave[:, None], 48000).true_peak.value

    assert np.abs(wave).max() == pytest.approx(0.3536, abs=1e-3)
    assert _value(peak) == pytest.approx(-6.0, abs=0.3)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3])
def test_less_than_one_gating_block_has_no_loudness(seconds: float) -> None:
    loudness = _measure(_sine(48000, level_db=-6, seconds=seconds)[:, None], 48000)

    assert loudness.integrated.value is None
    assert loudness.integrated.reason == "too_short"
    assert loudness.range.reason == "too_short"


def test_silence_has_no_loudness_and_says_so() -> None:
    loudness = _measure(np.zeros((480000, 2), np.float32), 48000)

    assert [loudness.integrated.reason, loudness.range.reason, loudness.true_peak.reason] == ["silence"] * 3
