"""Names that are the whole of what is looked for: who bears one stands before those that only have its words.

BM25 counts words, whatever else stands beside them, so "Trigun" is found in "Trigun: the film and its music" as well.
"""

from collections.abc import Collection, Mapping, Sequence
from string import punctuation, whitespace
from typing import Protocol

from workers.vectors.fusion import Key
from workers.vectors.query import NAME, WORDS
from workers.vectors.schema import Schema
from workers.vectors.words import words

LOOKED_AT = 100
"""So many of the best by words may bear the name; a page further down changes nothing about it."""

_SILENT = str.maketrans("", "", "'`")
_BEFORE_WORDS = f"{punctuation}{whitespace}"


class Asked(Protocol):
    """What a query is looked for with."""

    @property
    def asked(self) -> Mapping[str, str]:
        """Return word to be found -> word of the query, or two neighbours of it with a space between."""

    @property
    def spoken(self) -> Sequence[str]:
        """Return every word of the query in order; none where they are too many for a name."""


def bears(terms: Asked, texts: Mapping[str, Sequence[str]], schema: Schema) -> bool:
    """Tell whether an entry has a name that is the whole query, but for its spaces, signs and corrected typos.

    Names are in the fields that correct typos.
    """
    if not terms.spoken:
        return False
    first = tuple(term for term, word in terms.asked.items() if word.split(" ")[0] == terms.spoken[0])
    names = (name for name, field in schema.fields.items() if field.corrects_typos for name in texts.get(name, ()))
    return any(_may_begin(name, first) and _is_meant(terms, words(name)) for name in names)


def _may_begin(name: str, first: tuple[str, ...]) -> bool:
    """Tell whether the first word of a name may be one of these: most are told apart so, before they are cut."""
    return not name.isascii() or name.translate(_SILENT).lstrip(_BEFORE_WORDS).casefold().startswith(first)


def _is_meant(terms: Asked, name: Sequence[str]) -> bool:
    if "".join(name) == "".join(terms.spoken):
        return True
    pairs = zip(name, terms.spoken, strict=False)
    return len(name) == len(terms.spoken) and all(terms.asked.get(has, has) == word for has, word in pairs)


def by_words(
    ranking: Sequence[tuple[Key, float]], named: Collection[Key], *, is_alone: bool
) -> dict[str, Sequence[tuple[Key, float]]]:
    """Return a ranking by words with who bears the name first; beside other rankings, who bears it is one more.

    Each of them gets the score of the best beside its own, so that the scores still tell the order.
    """
    if not named:
        return {WORDS: ranking}
    best = ranking[0][1]
    raised = [(one, best + score if one in named else score) for one, score in ranking]
    raised.sort(key=lambda found: found[0] not in named)
    rankings: dict[str, Sequence[tuple[Key, float]]] = {WORDS: raised}
    if not is_alone:
        rankings[NAME] = [(one, 1.0) for one, _ in raised[: len(named)]]
    return rankings
