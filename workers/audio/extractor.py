"""The kernel's door: push samples, get features."""
# mypy: disable-error-code="import-untyped"

import numpy as np
import soxr
from numpy.typing import ArrayLike

from workers.audio import harmony, onsets, perceptual, rhythm, vector
from workers.audio.features import Estimate, Features, Provenance
from workers.audio.loudness import LoudnessMeter
from workers.audio.spectrum import RATE, Floats

# Tempo, key and timbre of a longer recording are those of its first 12 minutes: 64 MB of samples, and less than
# 200 MB for the process however long the recording.
ANALYSED_SECONDS = 12 * 60.0
MIN_SECONDS = 3.0

_SILENCE_RMS = 1e-4  # -80 dBFS over the loudest stretch
_TRIM = 1e-3  # leading and trailing passages 60 dB below the loudest are silence
_TRIM_STEP = 1024  # samples


class Extractor:
    """Measure one recording as its blocks arrive.

    `push` only mixes, resamples and gauges loudness; the analysis waits for `finish`, so that a caller who
    learns from the content hash that the recording is known can stop there at little cost.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._frames = 0
        self._meter = LoudnessMeter(rate, channels)
        self._mono = _MonoBuffer(rate)

    def push(self, block: Floats) -> None:
        """Add finite samples, float32 of shape (frames, channels)."""
        self._frames += len(block)
        self._meter.push(block)
        self._mono.push(block)

    def finish(self) -> Features:
        """Analyse what was pushed; call once."""
        return analyse(self._mono.finish(), self._meter, frames=self._frames, rate=self._rate)


def extract(samples: ArrayLike, rate: int) -> Features:
    """Return the features of a whole recording.

    Args:
        samples: floating point, full scale +-1, shape (frames,) or (frames, channels).
        rate: samples a second.
    """
    array = np.asarray(samples, np.float32)
    block = array[:, None] if array.ndim == 1 else array
    extractor = Extractor(rate, block.shape[1])
    extractor.push(block)
    return extractor.finish()


class _MonoBuffer:
    """The mean of all channels at RATE, up to ANALYSED_SECONDS."""

    def __init__(self, rate: int) -> None:
        # untouched pages cost nothing: a short track occupies only what it fills
        self._samples = np.empty(int(ANALYSED_SECONDS * RATE), np.float32)
        self._filled = 0
        self._resampler = soxr.ResampleStream(rate, RATE, 1, "float32", "MQ") if rate != RATE else None

    def push(self, block: Floats) -> None:
        if self._filled < len(self._samples):
            self._keep(self._resampled(_mix(block), last=False))

    def finish(self) -> Floats:
        if self._filled < len(self._samples):
            self._keep(self._resampled(np.empty(0, np.float32), last=True))
        return self._samples[: self._filled]

    def _resampled(self, mono: Floats, *, last: bool) -> Floats:
        if self._resampler is None:
            return mono
        result: Floats = self._resampler.resample_chunk(mono, last=last)
        return result

    def _keep(self, mono: Floats) -> None:
        end = min(self._filled + len(mono), len(self._samples))
        self._samples[self._filled : end] = mono[: end - self._filled]
        self._filled = end


def _mix(block: Floats) -> Floats:
    """Return the mean of the channels; column sums beat numpy's mean over a short axis tenfold."""
    total = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    total /= np.float32(block.shape[1])
    return total


def analyse(mono: Floats, meter: LoudnessMeter, *, frames: int, rate: int) -> Features:
    """Return the features of a mono signal at RATE, whose full-length loudness and length are given."""
    sounding, start = _trim(mono)
    if not len(sounding):
        return _unanalysed("silence", meter, frames=frames, rate=rate)
    if len(sounding) < MIN_SECONDS * RATE:
        return _unanalysed("too_short", meter, frames=frames, rate=rate)
    return _features(_unit_rms(sounding), start / RATE, meter, frames=frames, rate=rate)


def _trim(mono: Floats) -> tuple[Floats, int]:
    """Cut silence off both ends; return the rest and its first sample's index."""
    whole = len(mono) // _TRIM_STEP * _TRIM_STEP
    if not whole:
        return mono[:0] if not np.any(np.abs(mono) > _SILENCE_RMS) else mono, 0
    steps = mono[:whole].reshape(-1, _TRIM_STEP)
    # the spread rather than the level: a constant offset is no sound
    variances = np.einsum("ij,ij->i", steps, steps) / _TRIM_STEP - steps.mean(axis=1) ** 2
    levels = np.sqrt(np.maximum(variances, 0))
    if levels.max() < _SILENCE_RMS:
        return mono[:0], 0
    loud = np.flatnonzero(levels > _TRIM * levels.max())
    first, last = int(loud[0]) * _TRIM_STEP, (int(loud[-1]) + 1) * _TRIM_STEP
    return mono[first:last], first


def _unit_rms(mono: Floats) -> Floats:
    mono -= mono.mean()
    mono /= np.sqrt(np.dot(mono, mono) / np.float32(len(mono)))  # in place: the buffer is ours and large
    return mono


def _features(mono: Floats, start: float, meter: LoudnessMeter, *, frames: int, rate: int) -> Features:
    fast = onsets.detect(mono)
    pulse = rhythm.estimate(fast.flux)
    tones = harmony.estimate(mono)
    loud = meter.finish()
    felt = perceptual.impressions(fast, pulse, tones, loud)
    return Features(
        duration_ms=_milliseconds(frames, rate),
        tempo=pulse.tempo,
        tempo_alternative=pulse.alternative,
        key=tones.key,
        mode=tones.mode,
        time_signature=pulse.time_signature,
        loudness=loud.integrated,
        loudness_range=loud.range,
        true_peak=loud.true_peak,
        energy=felt.energy,
        danceability=felt.danceability,
        valence=felt.valence,
        acousticness=felt.acousticness,
        instrumentalness=felt.instrumentalness,
        liveness=felt.liveness,
        speechiness=felt.speechiness,
        provenance=Provenance(window=(round(start, 3), round(start + len(mono) / RATE, 3))),
        vector=vector.describe(fast, pulse, tones),
        beats=pulse.beats + np.float32(start),
    )


def _unanalysed(reason: str, meter: LoudnessMeter, *, frames: int, rate: int) -> Features:
    gone, loud, felt = Estimate.missing(reason), meter.finish(), perceptual.nothing(reason)
    return Features(
        duration_ms=_milliseconds(frames, rate),
        tempo=gone,
        tempo_alternative=gone,
        key=gone,
        mode=gone,
        time_signature=gone,
        loudness=loud.integrated,
        loudness_range=loud.range,
        true_peak=loud.true_peak,
        energy=felt.energy,
        danceability=felt.danceability,
        valence=felt.valence,
        acousticness=felt.acousticness,
        instrumentalness=felt.instrumentalness,
        liveness=felt.liveness,
        speechiness=felt.speechiness,
        provenance=Provenance(window=(0.0, 0.0)),
    )


def _milliseconds(frames: int, rate: int) -> int:
    return round(1000 * frames / rate)
