"""How an entry stands on a Qdrant server: a point with its vectors, its words as a sparse vector, and a payload.

The payload has what comes back (id, texts, attributes) and what filters look at (numbers, folded labels).
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from workers.vectors.embedding import Floats
from workers.vectors.postings import gains
from workers.vectors.schema import Entry, Kind, Schema
from workers.vectors.text_store import labels_in
from workers.vectors.words import fold

# Names of vectors; those of spaces have no hyphen.
WORDS_VECTOR = "words-bm25"
_ORIGINAL = "-original"

_IDS = uuid.UUID("6a9b9f0c-4bb1-5bb5-8a5e-2c7a1f0f6d43")  # Qdrant takes numbers and UUIDs only


def point_id(one: str) -> str:
    """Return the id of an entry's point, which is the same in every version."""
    return str(uuid.uuid5(_IDS, one))


def number_key(column: str) -> str:
    """Return where in the payload a column of numbers stands."""
    return f"numbers.{column}"


def label_key(column: str) -> str:
    """Return where in the payload a column of labels stands."""
    return f"labels.{column}"


def original_vector(space: str, schema: Schema) -> str:
    """Return the name of the vector as it came, which is another one than the compared one if that is standardised."""
    return f"{space}{_ORIGINAL}" if schema.spaces[space].is_standardised else space


def payload_of(entry: Entry, schema: Schema) -> dict[str, Any]:
    """Return the payload of an entry's point."""
    numbers = {name: entry.attributes.get(name) for name, kind in schema.columns.items() if kind is Kind.NUMBER}
    labels = {name: sorted({fold(label) for label in one}) for name, one in labels_in(entry, schema).items()}
    return {
        "id": entry.id,
        **entry.to_json(),
        "numbers": {name: value for name, value in numbers.items() if value is not None},
        "labels": {name: folded for name, folded in labels.items() if folded},
    }


def entry_of(payload: Mapping[str, Any], vectors: Mapping[str, Any], schema: Schema) -> Entry:
    """Return the entry of a point with this payload and these vectors."""
    found = {space: vectors.get(original_vector(space, schema)) for space in schema.spaces}
    return Entry(
        id=payload["id"],
        vectors={space: np.asarray(one, np.float32) for space, one in found.items() if one is not None},
        texts=payload["texts"],
        attributes=payload["attributes"],
    )


def term_index(term: str) -> int:
    """Return the place of a word in the sparse vector, 0 to 2^32 - 1; two words in a million share one."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest())


def asked_words(terms: Iterable[str]) -> models.SparseVector:
    """Return the vector that asks for some words; the server multiplies each by its rarity."""
    indices = sorted({term_index(term) for term in terms})
    return models.SparseVector(indices=indices, values=[1.0] * len(indices))


def said_words(weights: Mapping[str, float], length: int, mean: float) -> models.SparseVector:
    """Return the vector of an entry's words, by what BM25 gives for each but its rarity.

    Args:
        weights: word -> its weight in the entry, one word at least.
        length: of the entry in words.
        mean: of all lengths.
    """
    found: dict[int, float] = {}
    for term, gain in zip(weights, gains(np.asarray(list(weights.values())), length, mean), strict=True):
        place = term_index(term)
        found[place] = found.get(place, 0.0) + float(gain)
    return models.SparseVector(indices=list(found), values=list(found.values()))


def dense(vector: Floats) -> list[float]:
    """Return a vector as it is sent."""
    numbers: list[float] = vector.tolist()
    return numbers
