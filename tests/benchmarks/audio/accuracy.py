"""Accuracy against truth, and whether the stated confidence can be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.audio import scoring
from tests.benchmarks.audio.analysis import run_all, run_peer
from tests.benchmarks.audio.scoring import Answer, Graded
from tests.benchmarks.audio.truth import Truth
from tests.benchmarks.figures import Figure
from workers.audio.features import Effort

PEERS = ("librosa", "essentia")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found."""

    figures: Sequence[Figure]
    reliability: Sequence[str]  # a table, line by line
    misses: Sequence[str]


# name, measure, goal
MEASURES: Sequence[tuple[str, Callable[[Graded], float], float | None]] = (
    ("tempo, Acc1", scoring.accuracy_1, 0.76),
    ("tempo, Acc2", scoring.accuracy_2, 0.96),
    ("tempo or its alternative", scoring.either_tempo, None),
    ("key, exact", scoring.key_exact, 0.76),
    ("key, MIREX", scoring.key_mirex, 0.83),
    ("mode", scoring.mode_right, 0.88),
    ("metre, 3 or 4", scoring.metre_right, None),
)
SHARED_WITH_PEERS = frozenset(("tempo, Acc1", "tempo, Acc2", "key, exact", "key, MIREX", "mode"))


def measure(truths: Sequence[Truth], peers: Path | None, effort: Effort = Effort.FULL) -> Report:
    """Analyse all with the kernel, and with the peers where their Python is given."""
    runs = run_all([one.path for one in truths], effort)
    graded = [(one, run.answer) for one, run in zip(truths, runs, strict=True)]
    figures = [Figure(name=name, value=share(graded), unit="", at_least=goal) for name, share, goal in MEASURES]
    seconds = median(run.cpu for run in runs)
    figures.append(Figure(name="processor time a recording", value=seconds, unit="s", note=f"{len(runs)} recordings"))
    if peers is not None:
        figures += [figure for peer in PEERS for figure in _of_peer(peers, peer, truths)]
    return Report(figures=figures, reliability=list(_reliability(graded)), misses=list(_misses(graded)))


def _of_peer(python: Path, peer: str, truths: Sequence[Truth]) -> Iterator[Figure]:
    runs = run_peer(python, peer, [one.path for one in truths])
    graded = [(one, run.answer) for one, run in zip(truths, runs, strict=True)]
    for name, share, _ in MEASURES:
        if name in SHARED_WITH_PEERS:
            yield Figure(name=f"{peer}: {name}", value=share(graded), unit="")
    spent = [run.cpu for run in runs if run.cpu is not None]
    failed = len(runs) - len(spent)
    yield Figure(name=f"{peer}: processor time a recording", value=median(spent), unit="s", note=f"{failed} failed")


# feature, whether an answer is right; None where the truth is unknown or nothing was answered
def _tempo(truth: Truth, answer: Answer) -> bool | None:
    return None if truth.tempo is None or answer.tempo is None else scoring.is_tempo(truth, answer.tempo)


def _key(truth: Truth, answer: Answer) -> bool | None:
    return None if truth.key is None or answer.key is None else scoring.is_key(truth, answer)


def _mode(truth: Truth, answer: Answer) -> bool | None:
    return None if truth.mode is None or answer.mode is None else truth.mode == answer.mode


def _metre(truth: Truth, answer: Answer) -> bool | None:
    return None if truth.metre is None or answer.metre is None else truth.metre == answer.metre


CALIBRATED: Sequence[tuple[str, Callable[[Truth, Answer], bool | None]]] = (
    ("tempo", _tempo),
    ("key", _key),
    ("mode", _mode),
    ("time_signature", _metre),
)


def _reliability(graded: Graded) -> Iterator[str]:
    """Yield, for fifths of the answers from the least certain up, stated confidence -> share that is right."""
    yield "Reliability: stated confidence -> share of right answers"
    for feature, judge in CALIBRATED:
        pairs = [
            (answer.confidence[feature], is_right)
            for truth, answer in graded
            if answer.confidence is not None and (is_right := judge(truth, answer)) is not None
        ]
        bins = scoring.reliability(pairs)
        shown = "  ".join(f"{one.stated:.2f} -> {one.right:.2f}" for one in bins)
        yield f"  {feature:15}{shown}  (mean error {scoring.calibration_error(bins):.3f}, {len(pairs)} answers)"


def _misses(graded: Graded) -> Iterator[str]:
    for truth, answer in graded:
        if _tempo(truth, answer) is not True and truth.tempo is not None:
            yield f"  tempo {truth.name}: {truth.tempo:g}, answered {answer.tempo} (or {answer.tempo_alternative})"
        if _key(truth, answer) is not True and truth.key is not None:
            answered = f"{answer.key} {answer.mode}"
            yield f"  key {truth.name}: {truth.key} {truth.mode}, answered {answered}, detuned by {truth.cents:g} cents"
