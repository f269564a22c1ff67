"""Spotify-style impressions in 0..1 from physical measures and, at full effort, from trained models.

None of these formulas was fitted to listeners: they order recordings sensibly, they do not reproduce
Spotify's numbers, and their confidence says so. Where nothing here can tell (an audience, or voices without
the models), there is no value.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workers.audio.curves import logistic
from workers.audio.features import Estimate
from workers.audio.harmony import Harmony
from workers.audio.loudness import Loudness
from workers.audio.neural import leanings
from workers.audio.neural.listening import Heard
from workers.audio.onsets import FLUX_BANDS, MEL_BANDS, Onsets
from workers.audio.rhythm import Rhythm

# Telling voices from instruments takes a trained detector: the 4 Hz syllable rhythm of speech (Scheirer &
# Slaney, ICASSP 1997) is found in much percussion as well, so a formula would mislead.
_NEEDS_MODELS = Estimate.missing("needs_full_effort")
# An audience is noise with no signature that reverberation or cymbals lack.
_NO_MODEL = Estimate.missing("no_reliable_model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Impressions:
    """The perceptual features, all 0..1."""

    energy: Estimate
    danceability: Estimate
    valence: Estimate
    acousticness: Estimate
    instrumentalness: Estimate = _NEEDS_MODELS
    speechiness: Estimate = _NEEDS_MODELS
    liveness: Estimate = _NO_MODEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Physical measures of a recording beside its loudness, before they are put on a scale of 0..1."""

    brightness: float  # centre of gravity of the mean mel spectrum, in mel bands
    busyness: float  # log10 of the mean onset flux
    clarity: float  # how strongly onsets repeat
    bass: float  # share of the lowest quarter of the bands in the onset flux


class Scale(NamedTuple):
    """Where a measure maps to 0.5, and how far above to 0.73."""

    centre: float
    width: float

    def __call__(self, measure: float) -> float:
        """Return the measure on this scale, 0..1."""
        return logistic(measure, centre=self.centre, width=self.width)


# The median of recorded music, and the width that spreads its 5th to 95th percentile over about 0.1 to 0.9:
# `python -m tests.benchmarks.audio.fit_scales` measures them. Loudness is an agreed scale, not one to be fitted:
# -23 LUFS is broadcast level, streaming aims at -14, and little is mastered above -7.
LOUD = Scale(-14.0, 3.5)
BRIGHT = Scale(7.25, 0.92)
BUSY = Scale(-0.52, 0.086)
CLEAR = Scale(0.57, 0.18)
BASSY = Scale(0.258, 0.019)


def measure(onsets: Onsets, rhythm: Rhythm) -> Measures:
    """Take the measures of one recording."""
    return Measures(
        brightness=_brightness(onsets),
        busyness=float(np.log10(onsets.flux[:, -1].mean() + 1e-4)),
        clarity=rhythm.clarity,
        bass=_bass(onsets),
    )


def impressions(
    onsets: Onsets, rhythm: Rhythm, harmony: Harmony, loudness: Loudness, heard: Heard | None
) -> Impressions:
    """Combine the measures of one recording, and what the models heard; each formula stands at its function."""
    measures = measure(onsets, rhythm)
    energy = _energy(loudness, measures)
    danceability = _danceability(rhythm, measures)
    valence = _valence(rhythm, harmony, measures)
    acousticness = _acousticness(energy, measures)
    if heard is None:
        return Impressions(energy=energy, danceability=danceability, valence=valence, acousticness=acousticness)
    music = 1 - heard.speech.share  # the tags of a voice without music mean nothing
    return Impressions(
        energy=energy,
        danceability=_blend(danceability, leanings.dance(heard.tags), weight=0.5 * music, gain=0.3),
        valence=_blend(valence, leanings.cheer(heard.tags), weight=0.5 * music, gain=0.3),
        acousticness=_blend(acousticness, leanings.acoustic(heard.tags), weight=0.8 * music, gain=0.45),
        instrumentalness=_instrumentalness(heard),
        speechiness=heard.speech.speechiness,
    )


def _blend(measured: Estimate, heard: float, *, weight: float, gain: float) -> Estimate:
    """Mix a formula's value with a model's by the model's weight; confidence grows by up to `gain` as they agree."""
    if measured.value is None:
        return measured
    agreement = 1 - abs(measured.value - heard)
    value = (1 - weight) * measured.value + weight * heard
    return Estimate.of(round(value, 3), measured.confidence + gain * weight * agreement)


def _instrumentalness(heard: Heard) -> Estimate:
    """1 - the clearer of voices among the tags and speech: the tagger does not hear speech without music."""
    voice = max(leanings.voices(heard.tags), heard.speech.share)
    return Estimate.of(round(1 - voice, 3), 0.4 + 0.4 * abs(2 * voice - 1))


def nothing(reason: str) -> Impressions:
    """Return impressions without a value, all for the same reason except those that never have one."""
    gone = Estimate.missing(reason)
    return Impressions(
        energy=gone,
        danceability=gone,
        valence=gone,
        acousticness=gone,
        instrumentalness=gone,
        speechiness=gone,
    )


def _brightness(onsets: Onsets) -> float:
    mean = np.expm1(onsets.mel).mean(axis=0, dtype=np.float64)
    # equal weight by octave: music falls off by some 4.5 dB an octave, which would hide the treble
    tilted = np.sqrt(mean)
    return float(tilted @ np.arange(MEL_BANDS) / max(float(tilted.sum()), 1e-9))


def _bass(onsets: Onsets) -> float:
    shares = onsets.flux[:, : FLUX_BANDS - 1].mean(axis=0)
    return float(shares[0] / max(float(shares.sum()), 1e-9))


def _energy(loudness: Loudness, measures: Measures) -> Estimate:
    """0.45 x loudness + 0.35 x onset flux + 0.2 x brightness."""
    if loudness.integrated.value is None:
        return Estimate.missing(loudness.integrated.reason or "silence")
    loud, busy, bright = LOUD(loudness.integrated.value), BUSY(measures.busyness), BRIGHT(measures.brightness)
    return Estimate.of(round(0.45 * loud + 0.35 * busy + 0.2 * bright, 3), 0.5)


def _danceability(rhythm: Rhythm, measures: Measures) -> Estimate:
    """0.5 x pulse clarity + 0.3 x closeness of the tempo to 118 BPM + 0.2 x share of bass onsets.

    Clarity leads in studies of groove (Burger et al., Music Perception 30(5), 2013); people move most
    readily near two beats a second (Moelants, ICMPC 2002).
    """
    if rhythm.tempo.value is None:
        return Estimate.missing(rhythm.tempo.reason or "no_regular_pulse")
    near = float(np.exp(-0.5 * (np.log2(rhythm.tempo.value / 118.0) / 0.5) ** 2))
    value = 0.5 * CLEAR(measures.clarity) + 0.3 * near + 0.2 * BASSY(measures.bass)
    return Estimate.of(round(value, 3), 0.4 * rhythm.tempo.confidence + 0.1)


def _valence(rhythm: Rhythm, harmony: Harmony, measures: Measures) -> Estimate:
    """0.4 x majorness + 0.3 x tempo + 0.15 x brightness + 0.15 x onset flux.

    Mode and tempo are the two strongest acoustic cues of happy against sad (Eerola, Friberg & Bresin,
    Frontiers in Psychology 4, 2013). Lyrics and context are out of reach, hence the low confidence.
    """
    if rhythm.tempo.value is None or harmony.mode.value is None:
        return Estimate.missing("needs_tempo_and_mode")
    side = 2 * harmony.mode.value - 1
    major = 0.5 + 0.5 * side * max(0.0, 2 * harmony.mode.confidence - 1)
    fast = logistic(float(np.log2(rhythm.tempo.value / 110.0)), centre=0.0, width=0.3)
    value = 0.4 * major + 0.3 * fast + 0.15 * BRIGHT(measures.brightness) + 0.15 * BUSY(measures.busyness)
    return Estimate.of(round(value, 3), 0.3)


def _acousticness(energy: Estimate, measures: Measures) -> Estimate:
    """1 - (0.5 x energy + 0.25 x brightness + 0.25 x onset flux), as a stand-in where the tags are not heard.

    Unamplified music is quieter, darker and less percussive on average; a loud orchestra or a soft
    synthesiser breaks the rule, hence the low confidence.
    """
    if energy.value is None:
        return energy
    value = 1 - (0.5 * energy.value + 0.25 * BRIGHT(measures.brightness) + 0.25 * BUSY(measures.busyness))
    return Estimate.of(round(value, 3), 0.25)
