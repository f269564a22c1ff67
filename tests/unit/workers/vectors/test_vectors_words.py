"""How texts are cut into words, and misspelt words set right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.vectors.spelling import distance
from workers.vectors.words import WORD_MAX, fold, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Fullmetal Alchemist: Brotherhood", ["fullmetal", "alchemist", "brotherhood"]),
        ("Howl's Moving Castle", ["howls", "moving", "castle"]),
        ("Re:Zero − Starting Life", ["re", "zero", "starting", "life"]),  # noqa: RUF001
        ("POKÉMON café Čaroděj", ["pokemon", "cafe", "carodej"]),
        ("ＦＵＬＬ　ＷＩＤＴＨ ①", ["full", "width", "1"]),  # noqa: RUF001
        ("進撃の巨人", ["進撃", "撃の", "の巨", "巨人"]),
        ("ガンダム", ["ガン", "ンダ", "ダム"]),
        ("ｶﾞﾝﾀﾞﾑ", ["ガン", "ンダ", "ダム"]),
        ("鬼", ["鬼"]),
        ("NARUTO -ナルト-", ["naruto", "ナル", "ルト"]),
        ("나의 히어로", ["나의", "히어로"]),
        ("नमस्ते", ["नमसते"]),
        ("Straße ﬁn", ["strasse", "fin"]),
        ("snake_case", ["snake", "case"]),
        ("🎉 !? ☆", []),
        ("", []),
    ],
)
def test_words_are_what_a_reader_would_call_the_same(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    found = words(text)

    assert all(word and len(word) <= WORD_MAX for word in found)
    assert all(words(word) == [word] for word in found)


@given(st.text())
def test_a_folded_label_stays_as_it_is(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("naruto", "naruto", 0),
        ("naruto", "naurto", 1),
        ("naruto", "narto", 1),
        ("naruto", "narutto", 1),
        ("naruto", "maruto", 1),
        ("evangelion", "evengelien", 2),
        ("ca", "abc", 3),
        ("", "ab", 2),
        ("abc", "xyz", 3),
    ],
)
def test_the_distance_counts_edits_and_swaps(left: str, right: str, edits: int) -> None:
    assert distance(left, right, 3) == distance(right, left, 3) == edits
    assert distance(left, right, 1) == min(edits, 2)
