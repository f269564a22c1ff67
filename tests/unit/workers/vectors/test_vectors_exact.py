"""Exact search by way of a coarse copy misses nothing that the plain product finds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numkong
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.vectors.coarse import CoarseFiles, CoarseIndex
from workers.vectors.embedding import unit
from workers.vectors.exact import ExactIndex
from workers.vectors.query import Query
from workers.vectors.recall import NEIGHBOURS, Trial
from workers.vectors.shelf import Shelf
from workers.vectors.space import unit_file

from .conftest import DIMENSIONS, Collection, Floats, made_entries, publish

Array = NDArray[np.float64]

# Ways to make rows of numbers that rounding treats badly, from plain noise.
SHAPES: Mapping[str, Callable[[Array], Array]] = {
    "noise": lambda noise: noise,
    "one large number in each": lambda noise: noise + 50 * (np.arange(noise.shape[1]) == 1),
    "of all lengths, and zeros": lambda noise: noise * (10.0 ** np.arange(-6, 6)[np.arange(len(noise)) % 12])[:, None],
    "nearly equal": lambda noise: 1 + 1e-4 * noise,
    "equal": lambda noise: np.ones_like(noise),
    "few numbers": lambda noise: np.where(np.abs(noise) > 2, noise, 0),
}


@settings(max_examples=100, deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    dimensions=st.sampled_from((1, 3, 64, 384)),
    k=st.sampled_from((1, 10, 100)),
    share=st.sampled_from((None, 0.9, 0.4, 0.05)),
    seed=st.integers(0, 10_000),
)
def test_the_coarse_copy_misses_none_of_the_nearest(
    tmp_path_factory: pytest.TempPathFactory, shape: str, dimensions: int, k: int, share: float | None, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    vectors = unit(SHAPES[shape](chance.standard_normal((3000, dimensions))).astype(np.float32))
    query = unit((vectors[chance.integers(3000)] + 0.3 * chance.standard_normal(dimensions)).astype(np.float32))
    allowed = None if share is None else chance.random(3000) < share

    found = ExactIndex(vectors, _coarse(tmp_path_factory.mktemp("coarse"), vectors)).search(query, k, allowed)

    truth = ExactIndex(vectors).search(query, k, allowed)
    np.testing.assert_allclose(found.scores[:k], truth.scores[:k], atol=2e-6)
    # rows beyond the k-th are there for the sake of ties alone
    assert set(truth.rows[truth.scores > truth.scores[min(k, len(truth.scores)) - 1] + 2e-6]) <= set(found.rows)
    assert allowed is None or allowed[found.rows].all()


def test_a_copy_that_an_update_goes_on_with_is_that_of_a_full_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.vectors.space.WIDE", 1)
    entries = made_entries(1500)
    base = publish(tmp_path, entries[:1200])
    updated = tmp_path / publish(tmp_path, [*made_entries(40, seed=2), *entries[1200:]], base=base)

    for space, dimensions in (("text", DIMENSIONS), ("audio", 5)):
        anew = tmp_path / space
        anew.mkdir()
        files = CoarseFiles.of(space)
        files.write(anew, np.fromfile(updated / unit_file(space), np.float32).reshape(-1, dimensions))
        for name in (files.codes, files.bounds):
            assert (updated / name).read_bytes() == (anew / name).read_bytes()


def test_few_rows_are_compared_in_full(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    vectors = unit(chance.standard_normal((20_000, 128)).astype(np.float32))

    promising = _coarse(tmp_path, vectors).promising(vectors[5], 20, None)

    assert 20 <= len(promising) < 400


def test_a_copy_that_misses_some_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collection: Collection
) -> None:
    def broken(codes: Any, query: Any) -> Any:
        return np.arange(len(codes), dtype=np.int32)[:, None] * 1000

    entries = made_entries(3000)
    monkeypatch.setattr("workers.vectors.space.WIDE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(numkong, "dots_packed", broken)
        name = publish(tmp_path, entries)

    assert not list((tmp_path / name).glob("*.coarse.bin"))
    with Shelf(tmp_path).open(name) as snapshot:
        query = Query(near={"text": entries[7].vectors["text"]}, k=20)
        assert snapshot.search(query) == collection.snapshot.search(query)
    again = publish(tmp_path, entries[:5], base=name)
    assert len(list((tmp_path / again).glob("*.coarse.bin"))) == 2


def _coarse(folder: Path, vectors: Floats) -> CoarseIndex:
    files = CoarseFiles.of("text")
    read = files.read(folder, files.write(folder, vectors))
    assert read is not None
    return read


@pytest.mark.parametrize("chosen", [range(3), range(10), range(0, 9000, 2)])
def test_a_trial_knows_the_true_nearest(chosen: range) -> None:
    vectors = unit(np.random.default_rng(2).standard_normal((9000, 32)).astype(np.float32))

    trial = Trial.among(vectors, np.asarray(chosen), 20)

    for query, truth in zip(trial.queries, trial.truth, strict=True):
        expected = np.sort(vectors[chosen] @ query)[::-1][:NEIGHBOURS]
        np.testing.assert_allclose(truth, expected, atol=2e-6)
    assert trial.recall(ExactIndex(vectors)) == 1
