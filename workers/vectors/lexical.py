"""Search by words: BM25 over weighted fields, forgiving misspelt words of titles.

No query is wrong: what is no word is left out, and a query without a known word finds nothing.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workers.vectors import spelling
from workers.vectors.embedding import Floats
from workers.vectors.nearest import TIE, Mask, Nearest, best
from workers.vectors.postings import Postings
from workers.vectors.schema import Schema
from workers.vectors.text_store import numbers_of, terms_of
from workers.vectors.words import words

WORDS_MAX = 32  # different words of a query that count
_QUERY_MAX = 10_000  # characters that are looked at
_SAMPLE = 50  # rows for each that is wanted, by which the others are judged


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


def spoken_words(query: str) -> list[str]:
    """Return the different words of a query, those that count."""
    return list(dict.fromkeys(words(query[:_QUERY_MAX])))[:WORDS_MAX]


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
        return Terms(asked=asked, numbers=[numbers[term] for term in asked])

    def search(self, terms: Terms, k: int, allowed: Mask | None) -> Nearest:
        """Return the k best rows, and those that tie with the last; the scores are BM25's, higher for better."""
        scores = self._postings.scores(terms.numbers, self._rows, allowed)
        # numpy counts the true of bools several times as fast as the floats that are not zero
        rows = np.flatnonzero(scores > self._bound(terms.numbers, scores, k))
        return best(rows, scores[rows], k)

    def _bound(self, numbers: Sequence[int], scores: Floats, k: int) -> float:
        """Return a score above which the k best rows are, and those that tie with the last.

        Some rows of the rarest word reach it. Common words bring most of the rows, few of which do: the others need
        not be put in order.
        """
        for number in sorted(numbers, key=self._postings.documents):
            reached = scores[self._postings.rows(number)[: _SAMPLE * k]]
            if len(reached) >= k and (least := np.partition(reached, len(reached) - k)[len(reached) - k]) > 0:
                return max(0.0, float(least) - 2 * TIE)
        return 0.0

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


def matches(terms: Terms, texts: Mapping[str, Sequence[str]], schema: Schema) -> tuple[Match, ...]:
    """Return which terms stand in which fields of an entry's texts, the weightiest field first."""
    fields = sorted(schema.fields, key=lambda name: -schema.fields[name].weight)
    return tuple(
        Match(term=word, asked=terms.asked[word], field=name)
        for name in fields
        for word in dict.fromkeys(word for text in texts.get(name, ()) for word in words(text))
        if word in terms.asked
    )
