"""Groups that were planted are found, as many as there are, and named by what they have."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.taste_data import GENRES, Catalogue, made_track, published
from workers.taste.collection import NAMINGS, Collection
from workers.taste.kmeans import BATCHED_FROM, assign, divide
from workers.taste.labelling import name_group
from workers.taste.silhouette import SAMPLE, silhouette
from workers.vectors.embedding import Floats, unit

Labels = NDArray[np.int64]

DIMENSIONS = 48


def planted(
    count: int, groups: int, *, dimensions: int = 48, spread: float = 0.9, seed: int = 1
) -> tuple[Floats, Labels]:
    """Return unit vectors around so many middles, of uneven sizes, and which belongs to which."""
    chance = np.random.default_rng(1)
    shares = chance.dirichlet(np.full(groups, 5.0))
    labels = chance.choice(groups, count, p=shares)
    middles = chance.standard_normal((groups, DIMENSIONS))
    return unit(middles[labels] + spread * chance.standard_normal((count, DIMENSIONS))), labels


def pairs(counts: NDArray[np.float64]) -> float:
    return float((counts * (counts - 1) / 2).sum())


def adjusted_rand(one: Labels, other: Labels) -> float:
    """Return how far two divisions agree beyond chance, 1 at most (Hubert and Arabie, 1985)."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / (len(one) * (len(one) - 1) / 2)
    return (both - expected) / ((rows + columns) / 2 - expected)


@pytest.mark.parametrize(("count", "groups"), [(600, 3), (3_000, 12), (5_000, 40), (BATCHED_FROM + 5_000, 12)])
def test_planted_groups_are_found(count: int, groups: int) -> None:
    vectors, labels = planted(count, groups)

    assert adjusted_rand(divide(vectors, groups).labels, labels) >= 0.9


@pytest.mark.parametrize("groups", [2, 5, 9])
def test_the_number_of_groups_has_the_highest_silhouette(groups: int) -> None:
    vectors, _ = planted(1_200, groups)

    found = {k: silhouette(vectors, divide(vectors, k)) for k in range(2, 13)}

    assert max(found, key=lambda k: found[k]) == groups


def test_every_vector_is_with_its_nearest_middle() -> None:
    vectors, _ = planted(1_000, 6)

    division = divide(vectors, 6)

    labels, cosines = assign(vectors, division.middles)
    assert np.array_equal(labels, division.labels)
    assert np.allclose(cosines, division.cosines)
    assert np.allclose(np.linalg.norm(division.middles, axis=1), 1, atol=1e-5)


def test_the_same_vectors_are_divided_in_the_same_way() -> None:
    for count in (500, BATCHED_FROM + 1):
        vectors, _ = planted(count, 5)
        assert np.array_equal(divide(vectors, 5).labels, divide(vectors, 5).labels)


def test_equal_vectors_leave_no_group_empty() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)

    assert np.bincount(divide(vectors, 7).labels, minlength=7).min() >= 1


def test_the_silhouette_is_what_its_definition_says() -> None:
    vectors, _ = planted(150, 4, spread=2.0)
    division = divide(vectors, 4)
    apart = 1 - vectors @ vectors.T
    each = []
    for place, own in enumerate(division.labels):
        means = [apart[place, (division.labels == group) & (np.arange(150) != place)].mean() for group in range(4)]
        inside, outside = means[own], min(mean for group, mean in enumerate(means) if group != own)
        each.append((outside - inside) / max(outside, inside))

    assert silhouette(vectors, division) == pytest.approx(float(np.mean(each)), abs=1e-4)


def test_a_sample_speaks_for_all() -> None:
    vectors, _ = planted(4 * SAMPLE, 6, spread=1.5)
    division = divide(vectors, 6)

    assert silhouette(vectors, division, seed=1) == pytest.approx(silhouette(vectors, division, seed=2), abs=0.02)


def test_groups_of_a_catalogue_are_its_genres(catalogue: Catalogue) -> None:
    collection = catalogue.collection
    rows, vectors = collection.snapshot.every_vector("text")
    division = divide(vectors, len(GENRES))

    labels = set()
    for group in range(len(GENRES)):
        own = rows[division.labels == group]
        ids = collection.snapshot.ids_at(own)
        (genre,) = {int(one.removeprefix("mal-")) % len(GENRES) for one in ids}
        naming = name_group(collection, own, ids)
        assert naming.tags[0] == f"genre {genre}"
        assert "score" not in naming.features
        labels.add(naming.label)
    assert len(labels) == len(GENRES)


def test_groups_of_tracks_are_called_by_how_they_sound(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    entries = [
        made_track(
            f"t{n}",
            chance.standard_normal(106).astype(np.float32),
            tempo=170.0 if n < 50 else 80.0,
            energy=0.9 if n < 50 else 0.2,
            mode=0.0 if n < 50 else 1.0,
            valence=0.5,
        )
        for n in range(200)
    ]
    collection = Collection(published(tmp_path, entries).snapshot, NAMINGS["tracks"])
    ids = [f"ada\nt{n}" for n in range(50)]
    rows = np.arange(50)
    assert collection.snapshot.ids_at(rows) == ids

    naming = name_group(collection, rows, ids)

    assert set(naming.label.split(", ")) == {"fast", "energetic", "minor"}
    assert naming.features["tempo"] == 170
    assert name_group(collection, np.arange(200), ids).label == "mixed"
