"""Fit the weights of `workers.audio.key`, and print them as Python with what they achieve on unseen pieces.

Only the tuned half of the corpus is used. `--more` adds recordings from outside the corpus, such as those that
`python -m tests.benchmarks.audio.corpus` makes: the tuned half's scores in other arrangements, and scores that the
corpus leaves out. The weights in the code rest on 584 recordings of that kind.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from tests.benchmarks.audio import truth
from tests.benchmarks.audio.truth import Half, Truth
from tests.benchmarks.kernel import decode
from workers.audio import chroma, key
from workers.audio.extractor import trim, unit_rms
from workers.audio.features import Effort

# Albrecht & Shanahan, "The use of large corpora to train a new type of key-finding algorithm", Music Perception
# 31(1), 2013: share of notes by interval above the tonic. The fit starts here and is drawn back here, so that what
# the recordings leave open stays as in the literature.
PROFILES = (
    (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
    (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
)
LENGTHS = (11.0, 11.0, 0.0)  # of the weights at the start, for all of a piece, its opening and its close
PULLS = (0.1, 0.1, 0.3)  # back to there; many recordings have no last chord, hence the stronger pull
FOLDS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A recording as the model sees it."""

    shares: Array  # shape (12, 36): all, opening and close, from each of the twelve tonics upwards
    right: int  # mode x 12 + tonic
    piece: str  # the same for all arrangements of a score


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="truth-*.jsonl, as the benchmark makes it")
    parser.add_argument("--more", type=Path, action="append", default=[], help="further recordings in the same form")
    given = parser.parse_args()
    truths = [one for one in truth.load(given.corpus) if one.half is Half.TUNED]
    truths += [one for path in given.more for one in truth.load(path)]
    report([example(one) for one in truths if one.key is not None])


def report(examples: Sequence[Example]) -> None:
    """Print weights, bias and the log-odds that cross-validated probabilities lack."""
    weights, bias = fit(examples)
    print(np.array2string(weights, precision=1, separator=", ", suppress_small=True, floatmode="fixed"))
    print(f"bias of major: {bias:.2f}")
    chances = cross_validated(examples)
    is_right = chances.argmax(axis=1) == [one.right for one in examples]
    print(f"unseen pieces: {is_right.mean():.3f} right; modesty {modesty(chances.max(axis=1), is_right):.2f}")


def example(one: Truth) -> Example:
    """Return a recording of known key as the kernel sees it."""
    mono, _ = decode(one.path, Effort.STANDARD)[1].collect()
    shares = key.features(chroma.measure(unit_rms(trim(mono)[0])))
    return Example(
        shares=np.array([np.roll(shares, -tonic, axis=1).ravel() for tonic in range(12)]),
        right=12 * (one.mode or 0) + (one.key or 0),
        piece=re.sub(r"(-\d+)?-v\d$", "", one.name),
    )


def fit(examples: Sequence[Example]) -> tuple[Array, float]:
    """Return weights, shape (2, 3, 12), and the bias of major keys, of a multinomial logit over all keys."""
    shares, right = np.array([one.shares for one in examples]), np.array([one.right for one in examples])
    start, pull = _start(), np.append(np.tile(np.repeat(PULLS, 12), 2), 1.0)
    rows = np.arange(len(examples))

    def loss(found: Array) -> tuple[float, Array]:
        scores = _scores(shares, found)
        highest = scores.max(axis=1, keepdims=True)
        chances = np.exp(scores - highest)
        totals = chances.sum(axis=1, keepdims=True)
        cost = float(np.sum(np.log(totals) + highest) - scores[rows, right].sum())
        surprise = chances / totals
        surprise[rows, right] -= 1
        by_mode = surprise.reshape(-1, 2, 12)
        slope = np.append(np.einsum("nmk,nkd->md", by_mode, shares).ravel(), by_mode[:, 1].sum())
        away = found - start
        return cost + 0.5 * float(pull @ away**2), slope + pull * away

    result: Array = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    return result[:-1].reshape(2, 3, 12), float(result[-1])


def _start() -> Array:
    profiles = np.array(PROFILES) - np.mean(PROFILES, axis=1, keepdims=True)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    return np.append(np.array([[length * profile for length in LENGTHS] for profile in profiles]).ravel(), 0.0)


def _scores(shares: Array, found: Array) -> Array:
    """Return the score of each key, shape (examples, 24)."""
    scores = np.einsum("nkd,md->nmk", shares, found[:-1].reshape(2, 36))
    scores[:, 1] += found[-1]
    return np.asarray(scores.reshape(len(shares), 24), np.float64)


def cross_validated(examples: Sequence[Example]) -> Array:
    """Return the probability of each key, shape (examples, 24), by weights fitted without the piece in question."""
    folds = np.array([zlib.crc32(one.piece.encode()) % FOLDS for one in examples])
    chances = np.zeros((len(examples), 24))
    for fold in range(FOLDS):
        weights, bias = fit([one for one, number in zip(examples, folds, strict=True) if number != fold])
        unseen = np.array([one.shares for one, number in zip(examples, folds, strict=True) if number == fold])
        scores = _scores(unseen, np.append(weights, bias))
        chances[folds == fold] = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True), np.float64)


def modesty(stated: Array, is_right: NDArray[np.bool_]) -> float:
    """Return what to add to the log-odds of the probabilities to make their mean the share of right answers."""
    odds = np.log(stated / np.maximum(1 - stated, 1e-9))
    return float(
        scipy.optimize.brentq(lambda shift: np.mean(1 / (1 + np.exp(-odds - shift))) - is_right.mean(), -5.0, 5.0)
    )


if __name__ == "__main__":
    main()
