"""How the features of recorded music spread: a feature that says the same of everything says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.audio.analysis import run_all

FEATURES = ("energy", "danceability", "valence", "acousticness", "instrumentalness", "speechiness", "tempo", "loudness")
PERCENTILES = (5, 25, 50, 75, 95)


def spread_of(recordings: Sequence[Path]) -> Iterator[str]:
    """Yield a table of percentiles, line by line."""
    found = run_all(recordings)
    yield f"Spread over {len(found)} recordings: percentiles {', '.join(map(str, PERCENTILES))}"
    for feature in FEATURES:
        values = [value for one in found if (value := one.values[feature]) is not None]
        shown = "  ".join(f"{value:7.2f}" for value in np.percentile(values, PERCENTILES))
        yield f"  {feature:17}{shown}  ({len(found) - len(values)} without a value)"
