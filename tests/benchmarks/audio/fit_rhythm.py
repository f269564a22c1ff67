"""Fit the coefficients of `workers.audio.tempo` and `workers.audio.metre`, and print them as Python.

Only the tuned half of the corpus is used. `--more` adds recordings from outside the corpus at a third of the weight,
such as those that `python -m tests.benchmarks.audio.corpus` makes: the tuned half's scores in other arrangements, and
scores that the corpus leaves out. The coefficients in the code rest on 280 of that kind besides, and on 70 renderings
of the demo tracks at other speeds than their own.
The metre is fitted at the tempi that the coefficients in the code give: after a change, run it twice.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from tests.benchmarks.audio import truth
from tests.benchmarks.audio.scoring import TOLERANCE
from tests.benchmarks.audio.truth import Half, Truth
from tests.benchmarks.kernel import decode
from workers.audio import beats, metre, onsets, periodicity, tempo
from workers.audio.extractor import trim, unit_rms
from workers.audio.features import Effort
from workers.audio.spectrum import Floats

_TEMPO_PENALTY, _METRE_PENALTY = 8.0, 2.0  # of squared coefficients of standardised features
_CORPUS_WEIGHT = 3.0  # of a recording of the corpus, next to one of `--more`

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidates for one recording's tempo, and which is right."""

    features: Array  # shape (candidates, features)
    right: int
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
    for one, weight in weighted:
        flux = onset_strength(one.path)
        choices += choice(one, flux, weight)
        bars += bar(one, flux, weight)
    print_tempo(fit_tempo(choices))
    print("metre:", np.array2string(fit_metre(bars), precision=2, separator=", ", suppress_small=True))


def onset_strength(path: Path) -> Floats:
    """Return the onset strength of a recording as the kernel sees it, shape (frames, bands)."""
    mono, _ = decode(path, Effort.STANDARD)[1].collect()
    return onsets.detect(unit_rms(trim(mono)[0])).flux


def choice(one: Truth, flux: Floats, weight: float) -> Iterator[Choice]:
    """Yield the candidates, if the true tempo is among them."""
    found = periodicity.measure(flux)
    tempi = tempo.candidates(found.whole)
    distance = np.abs(np.log(tempi / (one.tempo or 1.0)))
    if one.tempo is not None and distance.min() < TOLERANCE:
        yield Choice(features=tempo.describe(found, tempi), right=int(distance.argmin()), weight=weight)


def bar(one: Truth, flux: Floats, weight: float) -> Iterator[Bar]:
    """Yield the accents at the tempo that the kernel answers, right or wrong, if the metre is known."""
    if one.metre in (3, 4):
        likeliest = tempo.weigh(periodicity.measure(flux)).tempi[0]
        repeated = metre.repetition(flux, beats.track(flux, tempo.refine(flux[:, -1], [likeliest])[0]))
        yield Bar(features=metre.describe(repeated), is_three=one.metre == 3, weight=weight)


def fit_tempo(choices: Sequence[Choice]) -> Array:
    """Return the coefficients of a conditional logit: chance of a candidate = softmax of its features' sum."""
    scale = np.concatenate([one.features for one in choices]).std(axis=0) + 1e-9

    def loss(weights: Array) -> tuple[float, Array]:
        cost, slope = 0.5 * _TEMPO_PENALTY * float(weights @ weights), _TEMPO_PENALTY * weights
        for one in choices:
            features = one.features / scale
            votes = features @ weights
            chances = np.exp(votes - votes.max())
            chances /= chances.sum()
            cost -= one.weight * float(np.log(chances[one.right]))
            slope = slope + one.weight * (chances @ features - features[one.right])
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
    """Print a row for each ratio, in all bands and in the bass, then the prior."""
    start = 0
    for ratios in (tempo.RATIOS, tempo.BASS_RATIOS):
        count = len(ratios)
        for number, ratio in enumerate(ratios, start):
            print(f"    ({weights[number]:.2f}, {weights[number + count]:.2f}),  # {ratio:.2f}")
        start += 2 * count
    print("by octaves:", np.array2string(weights[start:], precision=2, separator=", "))


if __name__ == "__main__":
    main()
