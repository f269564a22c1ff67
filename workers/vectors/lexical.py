"""Search by words: BM25 over weighted fields, forgiving misspelt words of titles.

No query is wrong: what is no word is left out, and a query without a known word finds nothing.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from workers.vectors import spelling
from workers.vectors.embedding import Floats
from workers.vectors.nearest import TIE, Mask, Nearest, Rows, best
from workers.vectors.postings import Postings
from workers.vectors.schema import Schema
from workers.vectors.text_store import numbers_of, terms_of
from workers.vectors.words import words

WORDS_MAX = 32  # different words of a query that count
_QUERY_MAX = 10_000  # characters that are looked at
_SAMPLE = 50  # rows of a word, for each that is wanted, by which the others are judged
_LOOKUP = 12  # to look a row up in a list takes as long as to go through so many
_SCATTERED = 30  # to look at a row here and there takes as long as at so many in order


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Why an entry was found by words."""

    # the word in the entry
    term: str
    # the word in the query; another one where a misspelling was corrected
    asked: str
    # the field that it stands in
    field: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a query is looked for with."""

    # word to be found -> word of the query
    asked: Mapping[str, str]
    # the numbers of the words to be found
    numbers: Sequence[int]
    # every word of the query in order; none where they are too many for a name
    spoken: Sequence[str] = ()


def spoken_words(query: str) -> list[str]:
    """Return the different words of a query, those that count."""
    return list(dict.fromkeys(words(query[:_QUERY_MAX])))[:WORDS_MAX]


def name_in(query: str) -> list[str]:
    """Return the words of a query that may be a name, in order; none where they are too many."""
    spoken = words(query[:_QUERY_MAX])
    return spoken if len(spoken) <= WORDS_MAX else []


def joined_words(spoken: Sequence[str]) -> dict[str, str]:
    """Return what neighbours make when they are written together, each with the two words."""
    return {left + right: f"{left} {right}" for left, right in pairwise(spoken)}


class WordIndex:
    """The words of a finished snapshot, and what misspelt ones may mean."""

    def __init__(self, postings: Postings, table: spelling.Table, rows: int) -> None:
        """Search so many rows; `table` spells the words that corrections may lead to."""
        self._postings = postings
        self._table = table
        self._rows = rows

    def understand(self, connection: sqlite3.Connection, query: str) -> Terms:
        """Return the terms that a query means."""
        spoken = spoken_words(query)
        joined = joined_words(spoken)
        known = self._known(connection, [*spoken, *joined])
        asked = {term: term if term in spoken else joined[term] for term in known}
        for word in spoken:
            if word not in known:
                meant = self._corrections(connection, word) or self._halves(connection, word)
                asked |= {term: word for term in meant if term not in asked}
        numbers = self._known(connection, list(asked))
        return Terms(asked=asked, numbers=[numbers[term] for term in asked], spoken=name_in(query))

    def search(self, terms: Terms, k: int, allowed: Mask | None) -> Nearest:
        """Return the k best rows, and those that tie with the last; the scores are BM25's, higher for better.

        The rarest words come first. Once k rows have more than all that is left can add, the long lists of the common
        words need not be gone through, only be looked up for the rows found so far (Turtle and Flood's MaxScore, 1995).
        """
        scores = np.zeros(self._rows, np.float32)
        left, floor = sorted(terms.numbers, key=self._postings.documents), 0.0
        having: list[NDArray[np.int32]] = []
        while left and (floor <= self._most(left) or self._is_sooner_added(left[0], having)):
            having.append(self._postings.add(left.pop(0), scores, allowed))
            floor = max(floor, _reached(having[-1], scores, k))
        rows = _above(floor - self._most(left), having, scores)
        for number in left:
            self._postings.add_at(rows, number, scores)
        return best(rows, scores[rows], k)

    def having_all(self, terms: Terms, rows: Rows) -> Mask:
        """Tell which of some rows have every word that is asked for, each in one of its spellings."""
        having = np.zeros((len(terms.spoken), len(rows)), np.bool_)
        for number, asked in zip(terms.numbers, terms.asked.values(), strict=True):
            having |= np.isin(terms.spoken, asked.split(" "))[:, None] & self._postings.has(rows, number)
        return np.asarray(having.all(axis=0) & bool(len(having)))

    def _is_sooner_added(self, number: int, having: Sequence[NDArray[np.int32]]) -> bool:
        return sum(map(len, having)) * _LOOKUP > self._postings.documents(number)

    def _most(self, numbers: Sequence[int]) -> float:
        """Return what some words add to a score at most."""
        return sum(map(self._postings.most, numbers))

    def _known(self, connection: sqlite3.Connection, terms: Sequence[str]) -> dict[str, int]:
        numbers = numbers_of(connection, terms)
        return {term: numbers[term] for term in terms if term in numbers and self._postings.documents(numbers[term])}

    def _corrections(self, connection: sqlite3.Connection, word: str) -> list[str]:
        alike = terms_of(connection, spelling.alike(self._table, word))
        titled = {term: self._postings.titled(number) for number, term in alike}
        return spelling.corrections(word, titled)

    def _halves(self, connection: sqlite3.Connection, word: str) -> tuple[str, ...]:
        cuts = spelling.cuts(word)
        known = self._known(connection, [half for cut in cuts for half in cut])
        titled = {term: self._postings.titled(number) for term, number in known.items()}
        return spelling.halves(cuts, titled)


def _reached(rows: NDArray[np.int32], scores: Floats, k: int) -> float:
    """Return a score that k of some rows are above, or as near to it as makes them equals; 0 where it is not known."""
    reached = scores[rows[: _SAMPLE * k]]
    if len(reached) < k:
        return 0.0
    return max(0.0, float(np.partition(reached, len(reached) - k)[len(reached) - k]) - 2 * TIE)


def _above(least: float, having: Sequence[NDArray[np.int32]], scores: Floats) -> Rows:
    """Return the rows with a score above one, ascending; all that have any stand in some lists."""
    if sum(map(len, having)) * _SCATTERED > len(scores):
        # numpy counts the true of bools several times as fast as the floats that are not zero
        return np.flatnonzero(scores > least)
    rows = np.sort(np.concatenate([np.empty(0, np.int64), *(one[scores[one] > least] for one in having)]))
    return rows[np.diff(rows, prepend=-1) > 0]


def matches(asked: Mapping[str, str], texts: Mapping[str, Sequence[str]], schema: Schema) -> tuple[Match, ...]:
    """Return which words stand in which fields of an entry's texts, the weightiest field first.

    Args:
        asked: word to be found -> word of the query.
        texts: field -> its texts.
        schema: of the collection.
    """
    fields = sorted(schema.fields, key=lambda name: -schema.fields[name].weight)
    return tuple(
        Match(term=word, asked=asked[word], field=name)
        for name in fields
        for word in dict.fromkeys(word for text in texts.get(name, ()) for word in words(text))
        if word in asked
    )
