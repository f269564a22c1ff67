"""Pages of a growing collection, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo import DESCENDING
from pymongo.collection import Collection

from shared.clock import now
from shared.errors import InvalidCursor
from shared.model import Json

SPAN_HOURS = (1, 8, 64, 512)
CLOCK_SKEW = timedelta(minutes=5)  # so much ahead of us may the clock of another front door be


def newest_first(field: str) -> list[tuple[str, int]]:
    """Return the order, for an index and for a sort: by a field that holds a time, then by id."""
    return [(field, DESCENDING), ("_id", DESCENDING)]


def page(
    collection: Collection[Json],
    query: Json,
    *,
    field: str,
    limit: int,
    after: str | None,
    since: datetime | None = None,
    projection: Mapping[str, int] | None = None,
) -> tuple[list[Json], str | None]:
    """Return up to `limit` documents behind a cursor, and the cursor of the next page. Raises `InvalidCursor`."""
    found: list[Json] = []
    for span in _spans(field, None if after is None else _read(after), since):
        documents = collection.find({**query, **span}, projection).sort(newest_first(field))
        found += documents.limit(limit + 1 - len(found))
        if len(found) > limit:
            return found[:limit], _write(found[limit - 1], field)
    return found, None


def _spans(field: str, behind: tuple[datetime, str] | None, since: datetime | None) -> Iterator[Json]:
    """Yield ever longer spans of time, back from a place: an index serves each, however much there is."""
    end = now() + CLOCK_SKEW
    if behind is not None:
        end, last_id = behind
        yield {field: end, "_id": {"$lt": last_id}}
    for hours in SPAN_HOURS:
        start = end - timedelta(hours=hours)
        if since is not None and start <= since:
            yield {field: {"$gte": since, "$lt": end}}
            return
        yield {field: {"$gte": start, "$lt": end}}
        end = start
    yield {field: {"$lt": end} if since is None else {"$gte": since, "$lt": end}}


def _write(document: Mapping[str, Any], field: str) -> str:
    return f"{int(document[field].timestamp() * 1000)}.{document['_id']}"


def _read(cursor: str) -> tuple[datetime, str]:
    milliseconds, _, document_id = cursor.partition(".")
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, tz=now().tzinfo), document_id
    except (ValueError, OverflowError, OSError):
        raise InvalidCursor(f"{cursor!r} is no cursor of this list.") from None
