"""The ladder of each feature: the first of the providers that knows a value gives it, and where others say
something else is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.providers import FIELDS, Provider

WHOLE_NUMBERS = frozenset(("key", "mode", "time_signature", "duration_ms"))
RANGES: Mapping[str, tuple[float, float]] = {
    "key": (0, 11),
    "mode": (0, 1),
    "time_signature": (2, 7),
    "tempo": (1, 1000),
    "loudness": (-100, 20),
    "duration_ms": (1, 86_400_000),
}
"""What is outside is no value; of the others, what is outside 0 to 1."""
TOLERANCES: Mapping[str, float] = {"loudness": 3.0}
RELATIVE: Mapping[str, float] = {"tempo": 0.04, "duration_ms": 0.02}
EXACT = frozenset(("key", "mode", "time_signature"))
SHARE_TOLERANCE = 0.2
"""How far two providers may be apart and still say the same: 3 dB, 4 % of a tempo (as in MIREX), a fifth of a scale."""

CONFIDENCE: Mapping[Provider, float] = {
    Provider.SPOTIFY: 0.8,
    Provider.RECCOBEATS: 0.6,
    Provider.RECCOBEATS_UPLOAD: 0.55,  # it hears half a minute of the track
    Provider.CLIENT: 0.5,
}
"""How sure we are of the word of a provider that does not say how sure it is; chosen, not measured."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one provider knows of a track."""

    provider: Provider
    values: Mapping[str, float | int]  # by field, only what it knows
    confidence: Mapping[str, float] = field(default_factory=dict)  # by field; else as `CONFIDENCE` has it
    reasons: Mapping[str, str] = field(default_factory=dict)  # field -> why it does not know it

    def confidence_of(self, name: str) -> float:
        """Return how sure a value is, 0 to 1."""
        return self.confidence.get(name, CONFIDENCE.get(self.provider, 0.5))


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A field of which two providers say different things."""

    field: str
    kept: Provider
    other: Provider
    kept_value: float | int
    other_value: float | int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The best features to be had of a track, field by field."""

    values: Mapping[str, float | int | None]
    sources: Mapping[str, str]  # field -> provider, where there is a value
    confidence: Mapping[str, float]
    reasons: Mapping[str, str]  # field -> why there is none
    disagreements: tuple[Disagreement, ...]
    settled: tuple[
        tuple[str, Provider], ...
    ] = ()  # field and provider that don't stand against what is kept (any more)

    @property
    def known(self) -> int:
        """How many fields have a value."""
        return len(self.sources)


def merge(answers: Sequence[Answer], reasons: Mapping[str, str]) -> Merged:
    """Return the fields from these answers, the first that knows one first; `reasons` say why others gave none.

    Args:
        answers: of the providers that were heard, in the order of preference.
        reasons: provider -> why it was not heard, or knows nothing of the track.
    """
    values: dict[str, float | int | None] = {}
    sources: dict[str, str] = {}
    confidence: dict[str, float] = {}
    missing: dict[str, str] = {}
    apart: list[Disagreement] = []
    settled: list[tuple[str, Provider]] = []
    for name in FIELDS:
        knowing = [answer for answer in answers if name in answer.values]
        if not knowing:
            values[name] = None
            missing[name] = _why(name, answers, reasons)
            continue
        first = knowing[0]
        values[name], sources[name] = first.values[name], first.provider.value
        confidence[name] = round(first.confidence_of(name), 4)
        against = [one for other in knowing[1:] if (one := _compared(name, first, other)) is not None]
        apart += against
        settled += [(name, one) for one in {answer.provider for answer in knowing} - {one.other for one in against}]
    return Merged(
        values=values,
        sources=sources,
        confidence=confidence,
        reasons=missing,
        disagreements=tuple(apart),
        settled=tuple(settled),
    )


def _why(name: str, answers: Sequence[Answer], reasons: Mapping[str, str]) -> str:
    said = [f"{answer.provider}: {answer.reasons.get(name, 'does not say')}" for answer in answers]
    return "; ".join((*said, *(f"{provider}: {reason}" for provider, reason in reasons.items()))) or "nobody was asked"


def _compared(name: str, kept: Answer, other: Answer) -> Disagreement | None:
    ours, theirs = kept.values[name], other.values[name]
    if kept.provider is other.provider or agree(name, ours, theirs):
        return None
    return Disagreement(field=name, kept=kept.provider, other=other.provider, kept_value=ours, other_value=theirs)


def agree(name: str, one: float, other: float) -> bool:
    """Whether two values of a field say the same."""
    if name in EXACT:
        return one == other
    if name in RELATIVE:
        return abs(one - other) <= RELATIVE[name] * max(abs(one), abs(other))
    return abs(one - other) <= TOLERANCES.get(name, SHARE_TOLERANCE)


def known_values(document: Mapping[str, Any]) -> dict[str, float | int]:
    """Return the features in somebody's document that are values at all; a key of -1 means that there is none."""
    found = {}
    for name in FIELDS:
        value = document.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least, most = RANGES.get(name, (0, 1))
        if least <= value <= most and (name not in EXACT or value == int(value)):
            found[name] = int(value) if name in WHOLE_NUMBERS else float(value)
    return found
