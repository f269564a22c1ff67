"""The measures of the audio benchmark, on answers whose marks are known."""

from pathlib import Path

import pytest

from tests.benchmarks.audio import scoring, truth
from tests.benchmarks.audio.scoring import Answer, Bin
from tests.benchmarks.audio.truth import Half, Truth


def _truth(**known: object) -> Truth:
    return Truth(name="piece", source="test", path=Path("piece.wav"), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tempo", "one", "two"),
    [
        *((100, 1, 1), (103.9, 1, 1), (104.1, 0, 0)),
        *((200, 0, 1), (50, 0, 1), (300, 0, 1), (33.3, 0, 1), (150, 0, 0)),
        (None, 0, 0),
    ],
)
def test_a_tempo_is_right_within_four_percent_or_by_a_multiple(tempo: float | None, one: int, two: int) -> None:
    graded = [(_truth(tempo=100.0), Answer(tempo=tempo))]
    assert (scoring.accuracy_1(graded), scoring.accuracy_2(graded)) == (one, two)


def test_an_alternative_counts_only_where_it_may() -> None:
    graded = [(_truth(tempo=100.0), Answer(tempo=50.0, tempo_alternative=100.0))]
    assert (scoring.accuracy_1(graded), scoring.either_tempo(graded)) == (0, 1)


@pytest.mark.parametrize(
    ("key", "mode", "weight"),
    [(0, 1, 1.0), (7, 1, 0.5), (9, 0, 0.3), (0, 0, 0.2), (6, 1, 0.0), (None, None, 0.0)],
    ids=["same", "fifth", "relative", "parallel", "other", "none"],
)
def test_keys_are_weighed_as_at_mirex(key: int | None, mode: int | None, weight: float) -> None:
    graded = [(_truth(key=0, mode=1), Answer(key=key, mode=mode))]
    assert scoring.key_mirex(graded) == pytest.approx(weight)
    assert scoring.key_exact(graded) == (weight == 1)


def test_what_is_not_known_is_not_judged() -> None:
    graded = [
        (_truth(), Answer(tempo=100.0, key=1, mode=1)),
        (_truth(tempo=90.0, metre=3), Answer(tempo=90.0, metre=4)),
    ]
    assert scoring.accuracy_1(graded) == 1
    assert scoring.metre_right(graded) == 0


def test_a_confidence_that_keeps_its_word_has_no_error() -> None:
    honest = [(0.25, False)] * 3 + [(0.25, True)] + [(1.0, True)] * 4
    bins = scoring.reliability(honest, bins=2)
    assert bins == [Bin(count=4, stated=0.25, right=0.25), Bin(count=4, stated=1.0, right=1.0)]
    assert scoring.calibration_error(bins) == 0
    assert scoring.calibration_error(scoring.reliability([(0.9, False)] * 5)) == pytest.approx(0.9)


def test_a_list_of_truths_comes_back_from_its_file(tmp_path: Path) -> None:
    known = Truth(name="a", source="test", path=tmp_path / "music" / "a.mp3", tempo=120.0, key=9, mode=0)
    truth.save(tmp_path / "truth.jsonl", [known])
    assert truth.load(tmp_path / "truth.jsonl") == [known]


def test_somebodys_own_list_needs_only_a_path_and_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"path": "a.mp3", "tempo": 98}\n\n')
    (one,) = truth.load(tmp_path / "mine.jsonl")
    assert (one.path, one.tempo, one.key) == (tmp_path / "a.mp3", 98, None)


def test_halves_depend_on_the_name_alone_and_are_about_equal() -> None:
    halves = [Truth(name=f"piece {n}", source="test", path=Path(str(n))).half for n in range(400)]
    assert 150 < halves.count(Half.TUNED) < 250
