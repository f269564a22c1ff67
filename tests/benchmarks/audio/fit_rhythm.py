"""Fit the coefficients of `workers.audio.tempo` and `workers.audio.metre`, and print them as Python.

Only the tuned half of the corpus is used. `--more` adds recordings from outside the corpus at a third of the weight,
such as those that `python -m tests.benchmarks.audio.corpus` makes: the tuned half's scores in other arrangements, and
scores that the corpus leaves out: the coefficients in the code rest on these 417. Bare
drums and the demo tracks at other speeds than their own stand for what the scores lack: slow beats of drums.
The metre is fitted at the tempi that the coefficients in the code give: after a change, run it twice.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from tests.benchmarks.audio import truth
from tests.benchmarks.audio.scoring import MULTIPLES, TOLERANCE, is_tempo
from tests.benchmarks.audio.truth import Half, Truth
from tests.benchmarks.kernel import decode
from workers.audio import beats, metre, onsets, periodicity, tempo
from workers.audio.extractor import Extractor, trim, unit_rms
from workers.audio.features import Effort
from workers.audio.instruments import RATE, hat, kick, snare
from workers.audio.onsets import Onsets
from workers.audio.synthesis import render_demo, write_demo_tracks

_TEMPO_PENALTY, _METRE_PENALTY = 8.0, 2.0  # of squared coefficients of standardised features
_MULTIPLES_WEIGHT = 1.0  # of finding the beat or a multiple of it, next to finding the beat
SPEEDS = (0.7, 0.8, 0.9, 1.1, 1.2, 1.3)  # of the demo tracks
# Of a recording of the corpus and of what is made here, next to one of `--more`.
_CORPUS_WEIGHT, _MADE_WEIGHT = 3.0, 2.0

# Bare drums, a letter an eighth: kick, snare and hat, always with a hat but for the dots; and beats a bar.
LOOPS = (("khshkhsh", 4), ("khshkksh", 4), ("k.s.k.s.", 4), ("k.skk.s.", 4), ("khshsh", 3), ("k.s.s.", 3))
LOOP_TEMPI = (64.0, 71.0, 79.0, 91.0, 103.0, 115.0, 131.0, 147.0)
LOOP_SECONDS = 40.0
SOUNDS = {"k": (kick, hat), "s": (snare, hat), "h": (hat,), ".": ()}

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidates for one recording's tempo, and which is right."""

    features: Array  # shape (candidates, features)
    right: int
    multiples: NDArray[np.bool_]  # of the right one and itself, shape (candidates,)
    weight: float


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What one recording's accents look like, and whether its bars have three beats."""

    features: Array  # the last is 1
    is_three: bool
    weight: float


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="truth-*.jsonl, as the benchmark makes it")
    parser.add_argument("--more", type=Path, action="append", default=[], help="further recordings in the same form")
    given = parser.parse_args()
    weighted = [(one, _CORPUS_WEIGHT) for one in truth.load(given.corpus) if one.half is Half.TUNED]
    weighted += [(one, 1.0) for path in given.more for one in truth.load(path)]
    choices: list[Choice] = []
    bars: list[Bar] = []
    heard = [
        *((one, onsets_of(one.path), weight) for one, weight in weighted),
        *((*one, _MADE_WEIGHT) for one in chain(demo_tracks(), drum_loops())),
    ]
    for one, found, weight in heard:
        choices += choice(one, found, weight)
        bars += bar(one, found, weight)
    print_tempo(fit_tempo(choices))
    print("metre:", np.array2string(fit_metre(bars), precision=2, separator=", ", suppress_small=True))


def demo_tracks() -> Iterator[tuple[Truth, Onsets]]:
    """Yield the demo tracks at SPEEDS, and their onsets."""
    with TemporaryDirectory(prefix="fit-rhythm-") as folder:
        tracks = write_demo_tracks(folder)
    for track, speed in product(tracks, SPEEDS):
        path = Path(track.file)
        extractor = Extractor(RATE, 2, Effort.STANDARD)
        extractor.push(render_demo(path.stem, speed=speed))
        known = Truth(name=path.stem, source="demo", path=path, tempo=track.tempo * speed, metre=track.time_signature)
        yield known, _onsets(extractor)


def drum_loops() -> Iterator[tuple[Truth, Onsets]]:
    """Yield LOOPS at LOOP_TEMPI, and their onsets."""
    chance = np.random.default_rng(0)
    for (letters, beats_a_bar), pace in product(LOOPS, LOOP_TEMPI):
        signal = np.zeros((int((LOOP_SECONDS + 1) * RATE), 1), np.float32)
        for number in range(int(LOOP_SECONDS * pace / 30)):
            start = int(number * 30 / pace * RATE)
            for sound in SOUNDS[letters[number % len(letters)]]:
                signal[start : start + len(sound()), 0] += sound() * np.float32(chance.uniform(0.8, 1))
        extractor = Extractor(RATE, 1, Effort.STANDARD)
        extractor.push(signal)
        name = f"{letters}-{pace:g}"
        yield Truth(name=name, source="drums", path=Path(name), tempo=pace, metre=beats_a_bar), _onsets(extractor)


def onsets_of(path: Path) -> Onsets:
    """Return the onsets of a recording as the kernel sees them."""
    return _onsets(decode(path, Effort.STANDARD)[1])


def _onsets(extractor: Extractor) -> Onsets:
    mono, _ = extractor.collect()
    return onsets.detect(unit_rms(trim(mono)[0]))


def choice(one: Truth, heard: Onsets, weight: float) -> Iterator[Choice]:
    """Yield the candidates, if the true tempo is among them."""
    found = periodicity.measure(heard)
    tempi = tempo.candidates(found.whole)
    distance = np.abs(np.log(tempi / (one.tempo or 1.0)))
    if one.tempo is not None and distance.min() < TOLERANCE:
        yield Choice(
            features=tempo.describe(found, tempi),
            right=int(distance.argmin()),
            multiples=np.array([is_tempo(one, each, MULTIPLES) for each in tempi]),
            weight=weight,
        )


def bar(one: Truth, heard: Onsets, weight: float) -> Iterator[Bar]:
    """Yield the accents at the tempo that the kernel answers, right or wrong, if the metre is known."""
    if one.metre in (3, 4):
        flux = heard.flux
        answer = tempo.weigh(periodicity.measure(heard)).tempi[:1]
        repeated = metre.repetition(flux, beats.track(flux, tempo.refine(flux[:, -1], answer)[0]))
        yield Bar(features=metre.describe(repeated), is_three=one.metre == 3, weight=weight)


def fit_tempo(choices: Sequence[Choice]) -> Array:
    """Return the coefficients of a conditional logit: chance of a candidate = softmax of its features' sum.

    The loss counts the chance of the right tempo, and the chance of it or a multiple.
    """
    scale = np.concatenate([one.features for one in choices]).std(axis=0) + 1e-9

    def loss(weights: Array) -> tuple[float, Array]:
        cost, slope = 0.5 * _TEMPO_PENALTY * float(weights @ weights), _TEMPO_PENALTY * weights
        for one in choices:
            features = one.features / scale
            votes = features @ weights
            chances = np.exp(votes - votes.max())
            chances /= chances.sum()
            near = chances * one.multiples
            cost -= one.weight * float(np.log(chances[one.right]) + _MULTIPLES_WEIGHT * np.log(near.sum()))
            seen = features[one.right] + _MULTIPLES_WEIGHT * (near @ features) / near.sum()
            slope = slope + one.weight * ((1 + _MULTIPLES_WEIGHT) * (chances @ features) - seen)
        return cost, slope

    found: Array = scipy.optimize.minimize(loss, np.zeros(len(scale)), jac=True, method="L-BFGS-B").x
    return np.asarray(found / scale)


def fit_metre(bars: Sequence[Bar]) -> Array:
    """Return the coefficients of a logistic regression, the last one the constant."""
    features = np.stack([one.features for one in bars])
    scale = np.append(features[:, :-1].std(axis=0), 1.0)
    sides = np.array([1.0 if one.is_three else -1.0 for one in bars])
    weight = np.array([one.weight for one in bars])
    penalty = np.append(np.full(len(scale) - 1, _METRE_PENALTY), 0.0)

    def loss(weights: Array) -> float:
        against = np.logaddexp(0, -sides * (features / scale @ weights))
        return float(weight @ against + 0.5 * penalty @ weights**2)

    found: Array = scipy.optimize.minimize(loss, np.zeros(len(scale))).x
    return np.asarray(found / scale)


def print_tempo(weights: Array) -> None:
    """Print a row for each ratio, in all bands, in the bass and in single tones, then the comb and the prior."""
    start = 0
    for ratios in (tempo.RATIOS, tempo.BASS_RATIOS, tempo.TONE_RATIOS):
        count = len(ratios)
        for number, ratio in enumerate(ratios, start):
            print(f"    ({weights[number]:.2f}, {weights[number + count]:.2f}),  # {ratio:.2f}")
        start += 2 * count
    print("by comb and octaves:", np.array2string(weights[start:], precision=2, separator=", "))


if __name__ == "__main__":
    main()
