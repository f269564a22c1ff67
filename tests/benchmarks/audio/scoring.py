"""How right answers are: the measures of the field, and whether a stated confidence means what it says."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import mir_eval.key

from tests.benchmarks.audio.truth import Truth

TOLERANCE = 0.04  # of the tempo (Gouyon et al., IEEE TASLP 14(5), 2006)
MULTIPLES = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("minor", "major")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an analysis says of a recording; None where it says nothing, which counts as wrong."""

    tempo: float | None = None
    tempo_alternative: float | None = None
    key: int | None = None
    mode: int | None = None
    metre: int | None = None
    confidence: dict[str, float] | None = None


Graded = Sequence[tuple[Truth, Answer]]


def is_tempo(truth: Truth, tempo: float | None, multiples: Iterable[float] = (1.0,)) -> bool:
    """Return whether a tempo lies within 4 % of the true one or of a multiple."""
    if tempo is None or truth.tempo is None:
        return False
    return any(abs(tempo / (truth.tempo * multiple) - 1) <= TOLERANCE for multiple in multiples)


def is_key(truth: Truth, answer: Answer) -> bool:
    """Return whether tonic and mode are both right."""
    return answer.key is not None and (answer.key, answer.mode) == (truth.key, truth.mode)


def accuracy_1(graded: Graded) -> float:
    """Return the share of recordings with the true tempo."""
    return _share(is_tempo(truth, answer.tempo) for truth, answer in graded if truth.tempo is not None)


def accuracy_2(graded: Graded) -> float:
    """Return the share of recordings with the true tempo, its double, triple, half or third."""
    return _share(is_tempo(truth, answer.tempo, MULTIPLES) for truth, answer in graded if truth.tempo is not None)


def either_tempo(graded: Graded) -> float:
    """Return the share of recordings whose true tempo is the answer or its alternative."""
    return _share(
        is_tempo(truth, answer.tempo) or is_tempo(truth, answer.tempo_alternative)
        for truth, answer in graded
        if truth.tempo is not None
    )


def key_exact(graded: Graded) -> float:
    """Return the share of recordings with the true key."""
    return _share(is_key(truth, answer) for truth, answer in graded if truth.key is not None)


def key_mirex(graded: Graded) -> float:
    """Return the mean of MIREX's weights: 1 for the key, 0.5 a fifth away, 0.3 relative, 0.2 parallel."""
    return fmean(
        0.0
        if answer.key is None or answer.mode is None
        else mir_eval.key.weighted_score(_named(truth.key, truth.mode), _named(answer.key, answer.mode))
        for truth, answer in graded
        if truth.key is not None and truth.mode is not None
    )


def mode_right(graded: Graded) -> float:
    """Return the share of recordings with the true mode."""
    return _share(answer.mode == truth.mode for truth, answer in graded if truth.mode is not None)


def metre_right(graded: Graded) -> float:
    """Return the share of recordings in 3 and 4 whose metre is right."""
    return _share(answer.metre == truth.metre for truth, answer in graded if truth.metre is not None)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The answers of about one confidence."""

    count: int
    stated: float  # mean confidence
    right: float  # share


def reliability(pairs: Sequence[tuple[float, bool]], bins: int = 5) -> list[Bin]:
    """Group (confidence, is right) into fifths of the answers, the least certain first."""
    ordered = sorted(pairs)
    edges = [round(number * len(ordered) / bins) for number in range(bins + 1)]
    groups = [ordered[start:stop] for start, stop in pairwise(edges) if stop > start]
    return [
        Bin(count=len(group), stated=fmean(one for one, _ in group), right=_share(is_right for _, is_right in group))
        for group in groups
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the mean distance between stated confidence and share of right answers (ECE)."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.stated - one.right) for one in bins) / total if total else 0.0


def _named(key: int | None, mode: int | None) -> str:
    return f"{PITCHES[key or 0]} {MODES[mode or 0]}"


def _share(found: Iterable[bool]) -> float:
    values = list(found)
    return sum(values) / len(values) if values else float("nan")
