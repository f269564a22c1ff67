"""The curve that turns a measure into 0..1."""

from math import exp


def logistic(value: float, *, centre: float, width: float) -> float:
    """Map a measure to 0..1: 0.5 at `centre`, 0.73 one `width` above."""
    return 1 / (1 + exp((centre - value) / width))
