"""Writing many documents of which most are new: inserted in one go, and only those that collide are updated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from shared.model import Json

DUPLICATE_KEY = 11000


def insert_or_update(
    collection: Collection[Json], documents: Sequence[Json], updates: Sequence[UpdateOne | ReplaceOne[Any]]
) -> None:
    """Insert the documents; for each that is there already, do its update, the one at its place.

    Upserts by the hundred take ten times as long on a server that is made for one machine.
    """
    if not documents:
        return
    try:
        # Copies: pymongo puts an _id into what it inserts.
        collection.insert_many([dict(document) for document in documents], ordered=False)
    except BulkWriteError as error:
        wrong = error.details["writeErrors"]
        if any(one["code"] != DUPLICATE_KEY for one in wrong):
            raise
        collection.bulk_write([updates[one["index"]] for one in wrong], ordered=False)
