"""Speech in a recording, as silero-vad 6.2.3 hears it (https://github.com/snakers4/silero-vad, MIT).

The detector takes 32 ms at a time, each with 4 ms of what came before, and carries an LSTM's state from one to the
next. What comes out as speechiness and, in the median, as its confidence:

    recorded speech in five languages, 22 synthetic ones    0.95 .. 0.99   0.95
    the same over music 20 dB below                         0.90 .. 0.96   0.95
    ... 10 dB below                                         0.52 .. 0.83   0.69
    ... as loud                                             0.38 .. 0.53   0.69
    ... 10 dB above                                         0.05 .. 0.42   0.78
    100 s, half of them speech and half music               0.42 .. 0.49   0.67
    114 recordings, nearly all music, a few of them sung    0.00 .. 0.04   0.95
    noise, tones, clicks                                    0.00           0.95
    a singer alone, 3 s                                     0.27           0.54
    synthetic whispers                                      0.21 .. 0.59   0.55

So singing over a band counts as music; the voice of a singer alone may land in the middle, and a whisper too low.
Steady noise counts like music: 10 dB below speech it gives 0.54. There was no rap to measure.
"""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from workers.audio.curves import logistic
from workers.audio.features import Estimate
from workers.audio.neural.excerpts import MODEL_RATE, excerpts
from workers.audio.spectrum import RATE, Floats
from workers.models.runtime import open_model

MODEL = "silero_vad_16k_sequence.onnx"

EXCERPTS = 12
EXCERPT_SECONDS = 5.0
MIN_SECONDS = 1.0

# Spotify's tiers: below, music; above, spoken word; between, both in sections or in layers, as in rap.
MUSIC, SPOKEN = 0.33, 0.66

_FRAME, _CONTEXT, _STATE = 512, 64, 128
_FRAME_SECONDS = _FRAME / MODEL_RATE
_SPEECH = 0.5  # the threshold that the model's authors recommend
_QUIETEST = 1e-12  # power, -120 dBFS

# dB: a frame that far below the recording's loud frames is silence, one that far below the speech around it a pause.
_SILENCE, _PAUSE = 35.0, 15.0
# With less speech than this in an excerpt, its quiet frames are no speaker's pauses.
_TALK = 0.2

# Parts of the standard error, set by judgement and checked on the recordings they were set for: of 1451 overlapping
# stretches of 1 to 120 s, 98 % were in the right tier at a confidence above 0.9, 93 % at 0.8 to 0.9, 81 % at 0.6 to
# 0.8 and 69 % at 0.3 to 0.6. Pooled over the tiers, that is: a spoken word or a music at 0.5 to 0.8 was speech mixed
# with music more often than not.
_MODEL_ERROR = 0.08  # anywhere
_DOUBT_ERROR = 0.4  # where the model's probabilities all lie at one half
_SECOND_ERROR = 0.2  # of a single second
_BEST = 0.95  # for what those recordings lack: rap, and singers alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """What up to a minute of a recording, evenly sampled, says about speech."""

    # seconds that the model heard
    heard: float
    # share of the frames that are speech
    share: float
    # the same without silence and a speaker's pauses: 1 where nothing sounds but speech
    sounding_share: float
    # mean probability of speech over all frames
    probability: float
    # seconds of the longest unbroken speech, at most EXCERPT_SECONDS
    longest_run: float
    # dB by which the sound falls between words, about the ratio of speech to what lies under it; None without speech
    clearance: float | None
    # 0..1 on Spotify's scale; the confidence is the chance that its tier is right
    speechiness: Estimate


def measure(mono: Floats) -> Speech:
    """Return the speech in a recording, the same at any gain.

    Args:
        mono: samples of unit RMS, shape (samples,), at RATE. Under MIN_SECONDS or in silence there is no estimate.

    Raises:
        ModelMissing: if the model has not been built.
    """
    heard = min(len(mono) / RATE, EXCERPT_SECONDS)
    if heard < MIN_SECONDS:
        return _unheard("too_short")
    # what pads a recording shorter than an excerpt must not count as a pause
    count = int(heard * MODEL_RATE) // _FRAME
    rows = excerpts(mono, count=EXCERPTS, seconds=EXCERPT_SECONDS)[:, : count * _FRAME]
    if not rows.any():
        return _unheard("silence")
    frames = rows.reshape(len(rows), count, _FRAME)
    return _summary(np.stack([_probabilities(row) for row in frames]), _levels(frames))


def _probabilities(frames: Floats) -> Floats:
    """Return the probability of speech in each of consecutive frames, shape (frames, _FRAME)."""
    context = np.zeros((len(frames), _CONTEXT), np.float32)
    context[1:] = frames[:-1, -_CONTEXT:]
    state = np.zeros((1, 1, _STATE), np.float32)
    inputs = {"input": np.concatenate((context, frames), axis=1), "h": state, "c": state}
    found: Floats = open_model(MODEL).run(["speech_probs"], inputs)[0]
    return found


def _levels(frames: Floats) -> Floats:
    """Return the level of each frame in dB."""
    power: Floats = np.einsum("...i,...i->...", frames, frames) / np.float32(_FRAME)
    result: Floats = 10 * np.log10(power + np.float32(_QUIETEST))
    return result


def _summary(probabilities: Floats, levels: Floats) -> Speech:
    """Combine all frames, both arrays of shape (excerpts, frames)."""
    speech = probabilities > _SPEECH
    talk = [(row[said], row) for row, said in zip(levels, speech, strict=True) if said.mean() >= _TALK]
    sounding = _sounding(speech, levels)
    sounding_share = float(speech[sounding].mean())
    clearance = float(np.median([said.mean() - np.percentile(row, 5) for said, row in talk])) if talk else None
    return Speech(
        heard=speech.size * _FRAME_SECONDS,
        share=float(speech.mean()),
        sounding_share=sounding_share,
        probability=float(probabilities.mean()),
        longest_run=max(_longest(row) for row in speech) * _FRAME_SECONDS,
        clearance=clearance,
        speechiness=_speechiness(sounding_share, clearance, _error(probabilities, sounding)),
    )


def _sounding(speech: NDArray[np.bool_], levels: Floats) -> NDArray[np.bool_]:
    """Mark the frames that are neither silence nor a pause next to speech; the loudest always sounds."""
    floors = np.full(len(levels), np.percentile(levels, 95) - _SILENCE)
    for row in np.flatnonzero(speech.mean(axis=1) >= _TALK):
        floors[row] = max(floors[row], levels[row][speech[row]].mean() - _PAUSE)
    result: NDArray[np.bool_] = speech | (levels > floors[:, None])
    return result


def _longest(row: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of true."""
    edges = np.flatnonzero(np.diff(row, prepend=False, append=False))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _speechiness(share: float, clearance: float | None, error: float) -> Estimate:
    """Speech's share of what sounds, x 0.55 if something lies right under it, x 0.78 at 13 dB of clearance, x 1 above.

    The share alone would call a voice over loud music spoken word.
    """
    bare = 0.0 if clearance is None else logistic(clearance, centre=13.0, width=2.0)
    value = share * (0.55 + 0.45 * bare)
    over_music, over_spoken = (_normal((value - limit) / error) for limit in (MUSIC, SPOKEN))
    right = 1 - over_music if value < MUSIC else over_spoken if value > SPOKEN else over_music - over_spoken
    return Estimate.of(round(value, 3), _BEST * right)


def _error(probabilities: Floats, sounding: NDArray[np.bool_]) -> float:
    """Return the standard error of a speechiness: the model's, that of the sampling, and that of a short recording."""
    doubt = 1 - float(np.abs(2 * probabilities[sounding] - 1).mean())
    sampling = float(probabilities.mean(axis=1).var()) / len(probabilities)
    short = _SECOND_ERROR**2 / (probabilities.size * _FRAME_SECONDS)
    return sqrt((_MODEL_ERROR + _DOUBT_ERROR * doubt) ** 2 + sampling + short)


def _normal(deviations: float) -> float:
    """Return the standard normal distribution function."""
    return (1 + erf(deviations / sqrt(2))) / 2


def _unheard(reason: str) -> Speech:
    return Speech(
        heard=0.0,
        share=0.0,
        sounding_share=0.0,
        probability=0.0,
        longest_run=0.0,
        clearance=None,
        speechiness=Estimate.missing(reason),
    )
