"""The kernel's door: push samples, get features."""
# mypy: disable-error-code="import-untyped"

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import soxr
from numpy.typing import ArrayLike

from workers.audio import harmony, onsets, perceptual, rhythm, vector
from workers.audio.features import Effort, Estimate, Features, Provenance
from workers.audio.loudness import Loudness, LoudnessMeter
from workers.audio.neural import listening
from workers.audio.neural.listening import Heard
from workers.audio.spectrum import RATE, Floats

QUICK_SECONDS = 60.0
_OPENING_SECONDS, _CLOSE_SECONDS = 20.0, 8.0  # besides the central minute, for the key
# Tempo, key and timbre of a longer recording are those of its first 12 minutes: 64 MB of samples, and less than
# 200 MB for the process however long the recording.
ANALYSED_SECONDS = 12 * 60.0
MIN_SECONDS = 3.0

_SILENCE_RMS = 1e-4  # -80 dBFS over the loudest stretch
_TRIM = 1e-3  # leading and trailing passages 60 dB below the loudest are silence
_TRIM_STEP = 1024  # samples
_MOST_TAGS, _CLEAR_TAG = 8, 0.1
# Power of the mix in that of its channels: independent channels keep half, opposite polarity next to nothing.
_CANCELLED = 0.01


def possible(effort: Effort) -> Effort:
    """Return the effort that can be made here: without the trained models, full is standard."""
    return Effort.STANDARD if effort is Effort.FULL and not listening.is_ready() else effort


class Extractor:
    """Measure one recording as its blocks arrive.

    `push` only mixes, resamples and gauges loudness; the analysis waits for `finish`, so that a caller who
    learns from the content hash that the recording is known can stop there at little cost.
    """

    def __init__(self, rate: int, channels: int, effort: Effort = Effort.FULL) -> None:
        self._rate = rate
        self._effort = possible(effort)
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
        return analyse(*self.collect(), self._effort)

    def collect(self) -> tuple[Floats, "Recording"]:
        """Return the mono signal at RATE, and what is known of the whole recording; call once."""
        recording = Recording(
            loudness=self._meter.finish(),
            duration_ms=round(1000 * self._frames / self._rate),
            warnings=("opposite_polarity",) if self._mono.is_one_sided else (),
        )
        return self._mono.finish(), recording


def extract(samples: ArrayLike, rate: int, effort: Effort = Effort.FULL) -> Features:
    """Return the features of a whole recording.

    Args:
        samples: floating point, full scale +-1, shape (frames,) or (frames, channels).
        rate: samples a second.
        effort: how thoroughly.
    """
    array = np.asarray(samples, np.float32)
    block = array[:, None] if array.ndim == 1 else array
    extractor = Extractor(rate, block.shape[1], effort)
    extractor.push(block)
    return extractor.finish()


class _MonoBuffer:
    """The mean of all channels at RATE, up to ANALYSED_SECONDS.

    Where the channels cancel each other (one was wired the wrong way round), the first stands for all.
    """

    def __init__(self, rate: int) -> None:
        # untouched pages cost nothing: a short track occupies only what it fills
        self._samples = np.empty(int(ANALYSED_SECONDS * RATE), np.float32)
        self._filled = 0
        self._resampler = soxr.ResampleStream(rate, RATE, 1, "float32", "MQ") if rate != RATE else None
        self._is_decided = False
        self.is_one_sided = False

    def push(self, block: Floats) -> None:
        if self._filled < len(self._samples):
            self._keep(self._resampled(self._mixed(block), last=False))

    def finish(self) -> Floats:
        if self._filled < len(self._samples):
            self._keep(self._resampled(np.empty(0, np.float32), last=True))
        return self._samples[: self._filled]

    def _mixed(self, block: Floats) -> Floats:
        mix = _mix(block)
        if not self._is_decided and (power := float(np.vdot(block, block))) > _SILENCE_RMS**2 * block.size:
            self._is_decided = True
            self.is_one_sided = float(mix @ mix) * block.shape[1] < _CANCELLED * power
        return np.ascontiguousarray(block[:, 0]) if self.is_one_sided else mix

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
    total = block[:, 0] + block[:, 1] if block.shape[1] > 1 else block[:, 0].copy()
    for channel in range(2, block.shape[1]):
        total += block[:, channel]
    total *= np.float32(1 / block.shape[1])
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """What is known of the whole recording when its analysis begins."""

    loudness: Loudness
    duration_ms: int
    warnings: tuple[str, ...] = ()


def analyse(mono: Floats, recording: Recording, effort: Effort) -> Features:
    """Return the features of a mono signal at RATE."""
    sounding, start = trim(mono)
    if not len(sounding):
        return _unanalysed("silence", recording, effort)
    if len(sounding) < MIN_SECONDS * RATE:
        return _unanalysed("too_short", recording, effort)
    if effort is Effort.QUICK:
        central, skipped = _centre(sounding)
        return _features(central, _with_ends(sounding, central), (start + skipped) / RATE, recording, effort)
    whole = unit_rms(sounding)
    return _features(whole, whole, start / RATE, recording, effort)


def _centre(mono: Floats) -> tuple[Floats, int]:
    """Return the central minute with unit RMS, and the index of its first sample."""
    size = int(QUICK_SECONDS * RATE)
    first = max(0, (len(mono) - size) // 2)
    return unit_rms(mono[first : first + size].copy()), first


def _with_ends(mono: Floats, central: Floats) -> Floats:
    """Return the central minute between the opening and the close, which tell the key: all of a short recording."""
    if len(mono) < (_OPENING_SECONDS + QUICK_SECONDS + _CLOSE_SECONDS) * RATE:
        return unit_rms(mono)
    opening, close = mono[: int(_OPENING_SECONDS * RATE)], mono[-int(_CLOSE_SECONDS * RATE) :]
    return np.concatenate((unit_rms(opening), central, unit_rms(close)))


def trim(mono: Floats) -> tuple[Floats, int]:
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


def unit_rms(mono: Floats) -> Floats:
    """Return the signal without its offset and at a power of one, in place."""
    mono -= mono.mean()
    mono /= np.sqrt(np.dot(mono, mono) / np.float32(len(mono)))  # in place: the buffer is ours and large
    return mono


def _features(mono: Floats, tonal: Floats, start: float, recording: Recording, effort: Effort) -> Features:
    """Return the features of a signal, whose key comes from `tonal`; both of unit RMS."""
    fast = onsets.detect(mono)
    pulse = rhythm.estimate(fast)
    tones = harmony.estimate(tonal)
    heard = listening.listen(mono) if effort is Effort.FULL else None
    felt = perceptual.impressions(fast, pulse, tones, recording.loudness, heard)
    window = (round(start, 3), round(start + len(mono) / RATE, 3))
    return _put_together(
        recording,
        felt,
        tempo=pulse.tempo,
        tempo_alternative=pulse.alternative,
        key=tones.key,
        mode=tones.mode,
        time_signature=pulse.time_signature,
        provenance=Provenance(effort=effort, window=window, models=listening.MODELS if heard else ()),
        vector=vector.describe(fast, pulse, tones),
        tags=_clear_tags(heard),
        embedding=heard.tags.embedding if heard else None,
        beats=pulse.beats + np.float32(start),
        tempo_curve=pulse.tempo_curve,
    )


def _clear_tags(heard: Heard | None) -> tuple[tuple[str, float], ...]:
    found = heard.tags.top(_MOST_TAGS) if heard else []
    return tuple((name, round(share, 3)) for name, share in found if share >= _CLEAR_TAG)


def _unanalysed(reason: str, recording: Recording, effort: Effort) -> Features:
    return _put_together(
        recording,
        perceptual.nothing(reason),
        **dict.fromkeys(("tempo", "tempo_alternative", "key", "mode", "time_signature"), Estimate.missing(reason)),
        provenance=Provenance(effort=effort, window=(0.0, 0.0)),
    )


def _put_together(recording: Recording, felt: perceptual.Impressions, **measured: Any) -> Features:
    loud = recording.loudness
    return Features(
        duration_ms=recording.duration_ms,
        loudness=loud.integrated,
        loudness_range=loud.range,
        true_peak=loud.true_peak,
        **{one.name: getattr(felt, one.name) for one in fields(felt)},
        warnings=recording.warnings,
        **measured,
    )
