"""A clip is the beginning of a recording, whatever that is like, and never large."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workers.audio.clip import BYTES_MAX, clip
from workers.audio.decode import open_audio
from workers.audio.errors import AudioError


def clipped(path: Path) -> bytes:
    with open_audio(path) as stream:
        return clip(stream)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("seconds", [0.5, 29.9, 31.0, 70.0])
def test_a_clip_has_half_a_minute_at_most(tmp_path: Path, rate: int, seconds: float) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, np.zeros((int(seconds * rate), 1), np.float32), rate)

    content = clipped(path)

    info = soundfile.info(io.BytesIO(content))
    assert (info.samplerate, info.channels, info.subtype) == (44_100, 1, "PCM_16")
    assert info.duration == pytest.approx(min(seconds, 30.0), abs=0.001)
    assert info.frames <= 30 * 44_100
    assert len(content) < BYTES_MAX


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_clip_is_the_beginning_and_the_mean_of_the_channels(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "one.wav"
    time = np.arange(40 * rate) / rate
    left = np.where(time < 30, 0.5 * np.sin(2 * np.pi * 440 * time), 0.9)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), rate, subtype="FLOAT")

    samples, at = soundfile.read(io.BytesIO(clipped(path)))

    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / at)
    assert np.abs(samples - expected)[:-2000].max() < 0.002  # resampling smears the last step


def test_what_is_too_hot_is_clipped_and_does_not_wrap_round(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, np.full((44_100, 2), 1.7, np.float32), 44_100, subtype="FLOAT")

    samples, _ = soundfile.read(io.BytesIO(clipped(path)))

    assert samples.min() > 0.99


def test_no_more_than_the_beginning_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, np.zeros((300 * 8_000, 1), np.float32), 8_000)
    with open_audio(path) as stream:
        clip(stream)
        assert stream.frames < 60 * 8_000


def test_a_file_without_samples_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "one.wav"
    soundfile.write(path, np.zeros((0, 1), np.float32), 8_000)

    with pytest.raises(AudioError):
        clipped(path)
