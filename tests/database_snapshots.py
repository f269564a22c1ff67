"""What a database holds to the last byte, but for what the jobs of the test itself add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson

from shared.model import Db
from shared.store import repairs, reports
from workers.database.values import decoded, split

MADE = ("job_clean", "job_gone")
ENGINE = ("jobs", "chunks", "outcomes")
LIVING = ("slots", "paces", "usage", "audit", "api_keys", "questions", "schedules", "defaults")
PASSED_OVER = frozenset((*LIVING, *repairs.OWN, reports.COLLECTION, reports.FINDINGS))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The documents as bytes, and the indexes."""

    documents: Mapping[str, Mapping[bytes, bytes]]
    indexes: Mapping[str, Mapping[str, Any]]


def snapshot(db: Db) -> Snapshot:
    """Return the database as it is."""
    names = [name for name in sorted(db.list_collection_names()) if name not in PASSED_OVER]
    documents = {name: _documents(db, name) for name in names}
    indexes = {name: {one: _plain(info) for one, info in db[name].index_information().items()} for name in names}
    return Snapshot(documents=documents, indexes=indexes)


def _documents(db: Db, name: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for batch in db[name].find_raw_batches({}):
        for raw in split(batch):  # type: ignore[arg-type]
            own_id = decoded(raw)["_id"]
            if name not in ENGINE or str(own_id).startswith(MADE):
                found[bson.encode({"_id": own_id})] = raw
    return found


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    keys = [(field, int(kind) if isinstance(kind, float) else kind) for field, kind in info["key"]]
    return {**{name: value for name, value in info.items() if name not in ("v", "ns")}, "key": keys}
