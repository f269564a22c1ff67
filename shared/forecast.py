"""Forecasts of a short series of counts: the simplest methods, and of those the one that would have been right before.

Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2 (seasonal naive) and 7.1 (linear trend).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

LEAST = 3  # values that a line is drawn through
Method = Callable[[Sequence[float], int], list[float]]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected next."""

    method: str  # seasonal_naive, linear_trend or mean
    values: tuple[float, ...]  # never below zero
    mean_absolute_error: float | None  # over what was held out; None where nothing could be
    held_out: int  # how many of the last values the method was tried on


def linear_trend(values: Sequence[float], horizon: int) -> list[float]:
    """Go on along the line of least squares."""
    n = len(values)
    middle, mean = (n - 1) / 2, sum(values) / n
    spread = sum((at - middle) ** 2 for at in range(n))
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(values)) / spread
    return [max(mean + slope * (n + ahead - middle), 0.0) for ahead in range(horizon)]


def seasonal_naive(season: int) -> Method:
    """Return the method that repeats the last season."""

    def repeat(values: Sequence[float], horizon: int) -> list[float]:
        return [float(values[len(values) - season + ahead % season]) for ahead in range(horizon)]

    return repeat


def forecast(values: Sequence[float], *, season: int, horizon: int) -> Forecast:
    """Return what comes next, by the method that does best on the last `horizon` values (mean absolute error)."""
    methods: dict[str, tuple[Method, int]] = {
        "seasonal_naive": (seasonal_naive(season), season),
        "linear_trend": (linear_trend, LEAST),
    }
    errors = {
        name: _error(method, values, horizon)
        for name, (method, least) in methods.items()
        if len(values) >= least + horizon
    }
    if errors:
        best = min(errors, key=errors.__getitem__)
        found = methods[best][0](values, horizon)
        return Forecast(
            method=best, values=tuple(found), mean_absolute_error=errors[best], held_out=min(horizon, len(values))
        )
    mean = sum(values) / len(values) if values else 0.0
    return Forecast(method="mean", values=(mean,) * horizon, mean_absolute_error=None, held_out=0)


def _error(method: Method, values: Sequence[float], horizon: int) -> float:
    known, held_out = values[:-horizon], values[-horizon:]
    guesses = method(known, horizon)
    return sum(abs(guess - value) for guess, value in zip(guesses, held_out, strict=True)) / horizon
