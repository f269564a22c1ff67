"""The work of the job kind `data_import`: rows in, documents checked and written in bulk, an outcome for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
from bson.errors import InvalidDocument
from pydantic import ValidationError
from pymongo import InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from shared.clock import now
from shared.errors import PlanFailed, in_words
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.data_import import Action, Item, Mode, Request, Result
from shared.jobs.job import JobContext
from shared.library import COLLECTIONS, LibraryCollection
from shared.model import Db, Json
from workers.imports.rows import rows_of
from workers.imports.source import opened

BATCH = 500  # rows that are looked up and written at a time
DUPLICATE_KEY = 11000
DOCUMENT_BYTES_MAX = 16 << 20
MADE = ("createdAt", "updatedAt")
"""The moments that a row may leave out: then they are the import's."""
Key = tuple[Any, ...]
Prepared = Json | ItemOutcome


def import_rows(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each row's outcome; good rows are written by then."""
    done = 0
    try:
        for outcome in _imported(request, items, context):
            yield outcome
            done += 1
    except PlanFailed as error:  # of the file, whose remedy is no matter of one row
        yield from [failed(error.code, f"{error.message} {error.advice}")] * (len(items) - done)


def _imported(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    form = COLLECTIONS[request.collection]
    with opened(request, context) as source:
        rows = rows_of(source.stream, request.format)
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            prepared = [_prepared(row, form) for row in rows.read(batch)]
            source.check()  # behind the reading: what is written was read from the file that was laid out
            yield from _stored(context.library, form, request.mode, prepared)


# Checking


def _prepared(row: Json | ValueError, form: LibraryCollection) -> Prepared:
    """Return the document that a row stands for, or why it is not one of its collection."""
    if isinstance(row, ValueError):
        return failed("unreadable_row", f"The row can't be read: {row}.")
    try:
        document = _with_moments(row, form)
        form.document.model_validate(document, strict=True)
        if any(name.startswith("$") for name in document):
            return failed("invalid_row", "The name of a field begins with '$'.")
        if len(bson.encode(document)) > DOCUMENT_BYTES_MAX:
            return failed("too_large", "The row makes a document of more than 16 MB.")
    except ValidationError as error:
        return failed("invalid_row", "; ".join(_in_words(one) for one in error.errors()))
    except (ValueError, InvalidDocument, OverflowError) as error:
        return failed("invalid_row", f"The row makes no document: {in_words(error)}.")
    return document


def _in_words(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def _with_moments(row: Json, form: LibraryCollection) -> Json:
    """Return a row whose moments are such, where it has them as text, and the import's where they may be left out."""
    found = dict(row)
    for name in form.moments:
        value = found.get(name)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            found[name] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        elif value is None and name in MADE:
            found[name] = now()
    return found


# Writing


def _stored(library: Db, form: LibraryCollection, mode: Mode, prepared: Sequence[Prepared]) -> list[ItemOutcome]:
    """Write documents, and return the outcome of each row; of rows with one key the last is written."""
    documents = {_key(one, form): one for one in prepared if isinstance(one, dict)}
    known = _known(library, form, documents)
    writes: dict[Key, InsertOne[Json] | ReplaceOne[Json]] = {}
    actions: dict[Key, Action] = {}
    for key, document in documents.items():
        there = known.get(key)
        if there is None:
            writes[key], actions[key] = InsertOne(document), Action.INSERTED
        elif mode is Mode.KEEP or {**document, "_id": there["_id"]} == there:
            actions[key] = Action.UNCHANGED
        else:
            whole = {**document, "_id": there["_id"]}
            writes[key], actions[key] = ReplaceOne({"_id": there["_id"]}, whole), Action.REPLACED
    refused = _write(library, form, writes)
    return [
        one if isinstance(one, ItemOutcome) else refused.get(_key(one, form)) or _done(actions[_key(one, form)])
        for one in prepared
    ]


def _key(document: Json, form: LibraryCollection) -> Key:
    # MongoDB keeps milliseconds.
    return tuple(_cut(document[name]) for name in form.key)


def _cut(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value


def _known(library: Db, form: LibraryCollection, documents: dict[Key, Json]) -> dict[Key, Json]:
    """Return the documents of these keys that are there already; each query is one that an index serves."""
    found: dict[Key, Json] = {}
    for query in _queries(form, list(documents)):
        for document in library[form.name].find(query):
            if (key := _key_or_none(document, form)) in documents and key is not None:
                found[key] = document
    return found


def _key_or_none(document: Json, form: LibraryCollection) -> Key | None:
    return _key(document, form) if all(name in document for name in form.key) else None


def _queries(form: LibraryCollection, keys: Sequence[Key]) -> Iterator[Json]:
    if len(form.key) == 1:
        yield {form.key[0]: {"$in": [key[0] for key in keys]}}
        return
    first, second = form.key[:2]
    for value in dict.fromkeys(key[0] for key in keys):
        yield {first: value, second: {"$in": list(dict.fromkeys(key[1] for key in keys if key[0] == value))}}


def _write(
    library: Db, form: LibraryCollection, writes: dict[Key, InsertOne[Json] | ReplaceOne[Json]]
) -> dict[Key, ItemOutcome]:
    """Write in bulk, and return what was refused."""
    if not writes:
        return {}
    try:
        library[form.name].bulk_write(list(writes.values()), ordered=False)
    except BulkWriteError as error:
        keys = list(writes)
        return {keys[one["index"]]: _refused(one) for one in error.details.get("writeErrors", [])}
    return {}


def _refused(error: Any) -> ItemOutcome:
    if error.get("code") == DUPLICATE_KEY:
        return failed("conflict", "Another document has the same _id or key.")
    return failed("not_stored", f"MongoDB refused it: {error.get('errmsg', 'no reason given')}")


def _done(action: Action) -> ItemOutcome:
    return succeeded(Result(action=action), cached=action is Action.UNCHANGED)
