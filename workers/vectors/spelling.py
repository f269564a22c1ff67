"""What a misspelt word may have meant: known words that share enough of its trigrams and few edits away."""

import sqlite3
from collections.abc import Iterable, Sequence

CORRECTED_MIN = 4  # characters; shorter words are a letter away from too many others
_TWO_EDITS_MIN = 8  # characters from which two edits are forgiven
_CANDIDATES_MAX = 64
_CORRECTIONS_MAX = 3
_PART_MIN = 3  # characters of each half of a word that was written together

SCHEMA = """
CREATE TABLE trigrams (trigram TEXT, length INTEGER, number INTEGER,
                       PRIMARY KEY (trigram, length, number)) WITHOUT ROWID;
"""


def trigrams(word: str) -> set[str]:
    """Return the trigrams of a word, its beginning and its end marked."""
    marked = f"^{word}$"
    return {marked[place : place + 3] for place in range(len(marked) - 2)}


def learn(connection: sqlite3.Connection, known: Iterable[tuple[int, str]]) -> None:
    """Keep words, each under a number of its own, to be found by `corrections`."""
    connection.executemany(
        "INSERT INTO trigrams VALUES (?, ?, ?)",
        (
            (one, len(word), number)
            for number, word in known
            if len(word) >= CORRECTED_MIN - 1
            for one in trigrams(word)
        ),
    )


def forget(connection: sqlite3.Connection, known: Iterable[tuple[int, str]]) -> None:
    """Take words out again that `learn` kept."""
    connection.executemany(
        "DELETE FROM trigrams WHERE trigram = ? AND length = ? AND number = ?",
        ((one, len(word), number) for number, word in known for one in trigrams(word)),
    )


def corrections(connection: sqlite3.Connection, word: str) -> list[str]:
    """Return what an unknown word most likely meant, the most frequent first; none for short or strange words."""
    if len(word) < CORRECTED_MIN:
        return []
    edits = 2 if len(word) >= _TWO_EDITS_MIN else 1
    parts = sorted(trigrams(word))
    places = ", ".join("?" * len(parts))
    similar = connection.execute(
        f"""SELECT term, named FROM (
                SELECT number, count(*) AS shared FROM trigrams
                WHERE trigram IN ({places}) AND length BETWEEN ? AND ?
                GROUP BY number ORDER BY shared DESC, number LIMIT {_CANDIDATES_MAX}
            ) JOIN terms USING (number)""",  # noqa: S608 - question marks and numbers of this module
        (*parts, len(word) - edits, len(word) + edits),
    ).fetchall()
    near = ((distance(word, term, edits), -named, term) for term, named in similar)
    found = sorted(one for one in near if one[0] <= edits)
    return [term for far, _, term in found if far == found[0][0]][:_CORRECTIONS_MAX]


def halves(connection: sqlite3.Connection, word: str) -> tuple[str, ...]:
    """Return the two known words that were written as one, the most frequent such pair; none if there is no pair."""
    cuts = [(word[:place], word[place:]) for place in range(_PART_MIN, len(word) - _PART_MIN + 1)]
    named = frequencies(connection, [half for cut in cuts for half in cut])
    pairs = [(min(named[left], named[right]), left, right) for left, right in cuts if left in named and right in named]
    return max(pairs)[1:] if pairs else ()


def frequencies(connection: sqlite3.Connection, asked: Sequence[str]) -> dict[str, int]:
    """Return in how many entries those of some words stand in a field that corrects typos."""
    places = ", ".join("?" * len(asked))
    rows = connection.execute(
        f"SELECT term, named FROM terms WHERE term IN ({places}) AND named > 0",  # noqa: S608 - question marks
        tuple(asked),
    )
    return dict(rows.fetchall())


def distance(left: str, right: str, limit: int) -> int:
    """Return the optimal string alignment distance: insertions, deletions, replacements, neighbours swapped.

    More than `limit` comes back as limit + 1.
    """
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(right) + 1))
    for row, one in enumerate(left, 1):
        line = [row]
        for column, other in enumerate(right, 1):
            cost = min(above[column] + 1, line[-1] + 1, above[column - 1] + (one != other))
            if row > 1 and column > 1 and one == right[column - 2] and left[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        if min(line) > limit:
            return limit + 1
        before, above = above, line
    return min(above[-1], limit + 1)
