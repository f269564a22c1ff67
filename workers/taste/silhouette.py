"""How well a division suits its vectors (Rousseeuw, 1987)."""

import numpy as np

from workers.taste.kmeans import Division
from workers.vectors.embedding import Floats

SAMPLE = 2_000  # vectors that are compared with each other: the figure moves by some 0.01


def silhouette(vectors: Floats, division: Division, *, seed: int = 0) -> float:
    """Return the mean silhouette by cosine distance, -1 to 1, of a sample of the vectors.

    For each vector the mean distance to its own group is held against that to the nearest other one; a vector that is
    alone in its group counts 0.
    """
    places = np.arange(len(vectors))
    if len(vectors) > SAMPLE:
        places = np.sort(np.random.default_rng(seed).choice(len(vectors), SAMPLE, replace=False))
    labels = division.labels[places]
    groups, own = np.unique(labels, return_inverse=True)
    if len(groups) < 2:
        return 0.0
    member = np.zeros((len(places), len(groups)), np.float32)
    member[np.arange(len(places)), own] = 1
    sizes = member.sum(axis=0)
    chosen = vectors[places]
    # The mean distance to a group is 1 less the mean cosine, so sums of vectors do for all pairs.
    means = 1 - (chosen @ (chosen.T @ member)) / sizes
    rows = np.arange(len(places))
    others = sizes[own] - 1
    # Itself, at distance 0, is no company.
    inside = means[rows, own] * sizes[own] / np.maximum(others, 1)
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    worse = np.maximum(inside, outside)
    found = np.divide(outside - inside, worse, out=np.zeros_like(worse), where=(worse > 0) & (others > 0))
    return float(found.mean())
