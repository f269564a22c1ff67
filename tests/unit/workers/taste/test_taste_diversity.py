"""What is chosen is good, and not all of a kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.taste.diversity import KINDS_MIN, choose
from workers.vectors.embedding import unit


def vectors(count: int, seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, 16)))


def test_of_two_equals_only_one_is_chosen_first() -> None:
    space = vectors(3)
    space[1] = space[0]

    assert choose(np.asarray([0.9, 0.89, 0.7]), space, [[0], [1], [2]], [0, 1, 2], 2) == [0, 2]


def test_the_most_relevant_comes_first_and_all_come_in_the_end() -> None:
    relevance = np.random.default_rng(2).random(30)

    chosen = choose(relevance, vectors(30), [[n] for n in range(30)], list(range(30)), 99)

    assert chosen[0] == int(relevance.argmax())
    assert sorted(chosen) == list(range(30))


@pytest.mark.parametrize(("count", "genres"), [(20, 5), (10, 3), (4, 1)])
def test_further_genres_come_in_however_irrelevant(count: int, genres: int) -> None:
    relevance = np.asarray([0.9] * 40 + [0.01] * 10)
    mains = [n % 2 for n in range(40)] + list(range(2, 12))

    chosen = choose(relevance, vectors(50), [[one] for one in mains], mains, count)

    assert len({mains[place] for place in chosen}) >= genres


def test_where_all_are_of_one_kind_all_are_chosen() -> None:
    assert len(choose(np.linspace(1, 0, 30), vectors(30), [[0]] * 30, [0] * 30, 20)) == 20


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 30), st.integers(0, 1000))
def test_no_kind_has_more_than_half_where_there_are_enough_others(each: int, kinds: int, count: int, seed: int) -> None:
    mains = [kind for kind in range(kinds) for _ in range(each)]
    chance = np.random.default_rng(seed)

    chosen = choose(chance.random(len(mains)), vectors(len(mains), seed), [[one] for one in mains], mains, count)

    assert len(set(chosen)) == len(chosen) == min(count, len(mains))
    counts = np.bincount([mains[place] for place in chosen], minlength=kinds)
    if kinds >= 3 and each >= count:
        assert counts.max() <= max(count // 2, 1)
    if each >= 1 and count >= 20:
        assert np.count_nonzero(counts) >= min(KINDS_MIN, kinds)


@pytest.mark.parametrize("kinds", [[[], [], []], [[0, 1], [], [2]]])
def test_things_without_a_kind_can_be_chosen(kinds: list[list[int]]) -> None:
    assert len(choose(np.ones(3), vectors(3), kinds, [one[0] if one else None for one in kinds], 3)) == 3
