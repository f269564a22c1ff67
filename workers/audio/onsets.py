"""Mel spectrogram and onset strength: where notes and drums begin."""

from dataclasses import dataclass

import numpy as np

from workers.audio.spectrum import RATE, Floats, mel_bank, power_frames

SIZE, HOP = 1024, 256  # samples: 46 ms frames, 86 a second
FRAME_RATE = RATE / HOP
MEL_BANDS = 40
FLUX_BANDS = 5  # four ranges of ten mel bands, then their sum

_LOW, _HIGH = 30.0, 10000.0  # Hz
# Power below the mean by 60 dB is treated as absent; above it, loudness grows with the logarithm.
_COMPRESSION = 1e4
# Two hops: one is shorter than the attack of most instruments within a 46 ms window.
LAG = 2

# Of the bins of 21.5 Hz, 65 Hz to 4 kHz: there lie tones, and each of them fills one bin or a few.
_TONES = slice(3, 190)
_TONE_LEVEL = 0.5  # amplitude at which loudness turns from linear to logarithmic


@dataclass(frozen=True, kw_only=True, slots=True)
class Onsets:
    """The fast-hop view of a signal."""

    # log-compressed mel power, shape (frames, MEL_BANDS)
    mel: Floats
    # rise of `mel` per band group and in total, shape (frames, FLUX_BANDS)
    flux: Floats
    # rise of single tones, shape (frames,): soft notes change the spectrum, not the level of a band
    tones: Floats


def detect(signal: Floats) -> Onsets:
    """Return the mel spectrogram and onset flux of a mono signal of unit RMS, shape (samples,) at RATE."""
    bank = mel_bank(MEL_BANDS, SIZE, _LOW, _HIGH)
    count = max(0, (len(signal) - SIZE) // HOP + 1)
    mel, tones = np.empty((count, MEL_BANDS), np.float32), np.empty(count, np.float32)
    done, before = 0, np.full((LAG, _TONES.stop - _TONES.start), np.inf, np.float32)
    for power in power_frames(signal, SIZE, HOP):
        part = slice(done, done := done + len(power))
        np.matmul(power, bank, out=mel[part])
        tones[part], before = _tone_rise(power[:, _TONES], before)
    # a frame of white noise of unit RMS has this power in every bin: the Hann window's energy
    mel *= np.float32(_COMPRESSION / (SIZE * 3 / 8))
    np.log1p(mel, out=mel)
    return Onsets(mel=mel, flux=_flux(mel), tones=tones)


def _tone_rise(power: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Return the rise of each frame above LAG frames earlier, shape (frames,), and the last levels, for the next call.

    It is measured against the loudest of three neighbouring bins, so that vibrato is no onset (Böck & Widmer, "Maximum
    filter vibrato suppression for onset detection", DAFx 2013).

    Args:
        power: shape (frames, bins).
        before: levels of the LAG frames before, shape (LAG, bins).
    """
    levels = np.concatenate((before, power))
    now = levels[LAG:]
    np.sqrt(now, out=now)
    now *= np.float32(_TONE_LEVEL)
    np.log1p(now, out=now)
    rise = levels[:-LAG].copy()
    np.maximum(rise[:, 1:], levels[:-LAG, :-1], out=rise[:, 1:])
    np.maximum(rise[:, :-1], levels[:-LAG, 1:], out=rise[:, :-1])
    np.subtract(now, rise, out=rise)
    np.maximum(rise, 0, out=rise)
    mean: Floats = rise @ np.full(rise.shape[1], 1 / rise.shape[1], np.float32)
    return mean, levels[-LAG:]


def _flux(mel: Floats) -> Floats:
    """Return half-wave rectified differences in groups of bands (Klapuri et al., IEEE TASLP 14(1), 2006)."""
    rise = np.zeros_like(mel)
    np.subtract(mel[LAG:], mel[:-LAG], out=rise[LAG:])
    np.maximum(rise, 0, out=rise)
    groups = rise.reshape(len(mel), FLUX_BANDS - 1, -1).mean(axis=2)
    return np.column_stack((groups, groups.mean(axis=1)))
