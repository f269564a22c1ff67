"""Search by words: BM25 over weighted fields, forgiving misspelt words of titles.

No query is wrong: what is no word is left out, and a query without a known word finds nothing.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from workers.vectors import spelling
from workers.vectors.nearest import Mask, Nearest
from workers.vectors.schema import Schema
from workers.vectors.words import words

WORDS_MAX = 32  # different words of a query that count
_QUERY_MAX = 10_000  # characters that are looked at

# A word that stands in more entries than both says little and costs the most; it is left out beside rarer ones.
_COMMON_MIN = 2_000
_COMMON_SHARE = 0.05

_PAGE = 256
_TIES_MAX = 1000
_SAME = 1e-9  # scores of BM25 that differ by less are equal


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
    # those of them that entries are found by: the others are too common to tell entries apart
    telling: Sequence[str]


def understand(connection: sqlite3.Connection, table: spelling.Table, query: str, entries: int) -> Terms:
    """Return the terms that a query means in a collection of so many entries, whose words `table` spells."""
    spoken = list(dict.fromkeys(words(query[:_QUERY_MAX])))[:WORDS_MAX]
    joined = {left + right: f"{left} {right}" for left, right in pairwise(spoken)}
    documents = _documents(connection, [*spoken, *joined])
    asked = {term: joined.get(term, term) for term in documents}
    for word in spoken:
        if word not in documents:
            meant = spelling.corrections(connection, table, word) or spelling.halves(connection, word)
            asked |= {term: word for term in meant if term not in asked}
    documents |= _documents(connection, [term for term in asked if term not in documents])
    return Terms(asked=asked, telling=_telling(documents, max(_COMMON_MIN, int(_COMMON_SHARE * entries))))


def search(connection: sqlite3.Connection, terms: Terms, k: int, allowed: Mask | None) -> Nearest:
    """Return the k best rows, and those that tie with the last; the scores are BM25's, higher for better."""
    rows: list[int] = []
    scores: list[float] = []
    for row, score in _ranked(connection, terms):
        if allowed is not None and not allowed[row]:
            continue
        if len(rows) >= k and (score < scores[k - 1] - _SAME or len(rows) >= k + _TIES_MAX):
            break
        rows.append(row)
        scores.append(score)
    return Nearest(rows=np.asarray(rows, np.int64), scores=np.asarray(scores, np.float32))


def matches(terms: Terms, texts: Mapping[str, Sequence[str]], schema: Schema) -> tuple[Match, ...]:
    """Return which terms stand in which fields of an entry's texts, the weightiest field first."""
    fields = sorted(schema.fields, key=lambda name: -schema.fields[name].weight)
    return tuple(
        Match(term=word, asked=terms.asked[word], field=name)
        for name in fields
        for word in dict.fromkeys(word for text in texts.get(name, ()) for word in words(text))
        if word in terms.asked
    )


def _documents(connection: sqlite3.Connection, terms: Sequence[str]) -> dict[str, int]:
    places = ", ".join("?" * len(terms))
    found = connection.execute(
        f"SELECT term, documents FROM terms WHERE term IN ({places})",  # noqa: S608 - question marks
        tuple(terms),
    )
    documents = dict(found.fetchall())
    return {term: documents[term] for term in terms if term in documents}


def _telling(documents: Mapping[str, int], common: int) -> list[str]:
    rare = [term for term, count in documents.items() if count <= common]
    return rare or sorted(documents, key=lambda term: (documents[term], term))[:1]


def _ranked(connection: sqlite3.Connection, terms: Terms) -> Iterator[tuple[int, float]]:
    if not terms.telling:
        return
    # Terms hold letters and digits alone, so nothing in them can mean anything to the index.
    expression = " OR ".join(f'"{term}"' for term in terms.telling)
    cursor = connection.execute("SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank", (expression,))
    while page := cursor.fetchmany(_PAGE):
        yield from page
