"""Who the users of an owner are: whoever stands in `users`, or has heard or rated anything."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from shared.model import Db, Json
from shared.store import listening_history, ratings
from shared.store.audio_features import USERS

PAGE = 1_000
USER_ID_MAX = 256  # characters; what is longer is no user of ours
SOURCES = (USERS, listening_history.COLLECTION, ratings.COLLECTION)


def user_ids(db: Db, *, after: str = "") -> Iterator[str]:
    """Yield the ids of all users behind one, in their order, each once; a page of each collection at a time."""
    last = after
    for user_id in heapq.merge(*(_user_ids_of(db, collection, after) for collection in SOURCES)):
        if user_id != last and len(user_id) <= USER_ID_MAX:
            last = user_id
            yield user_id


def _user_ids_of(db: Db, collection: str, after: str) -> Iterator[str]:
    """Yield the ids in one collection; whatever is no text is no id."""
    while True:
        stages: list[Json] = [
            {"$match": {"userId": {"$gt": after, "$lt": "\U0010ffff" * 4}}},
            {"$group": {"_id": "$userId"}},
            {"$sort": {"_id": 1}},
            {"$limit": PAGE},
        ]
        found = [document["_id"] for document in db[collection].aggregate(stages)]
        # A list of texts matches, too; whatever is no text comes behind all that are.
        texts = [one for one in found if isinstance(one, str)]
        yield from texts
        if len(texts) < PAGE:
            return
        after = texts[-1]
