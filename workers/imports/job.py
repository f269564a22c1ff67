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
from shared.store import jobs
from shared.store.id_ranges import CODEC
from shared.store.listening_history import Play, play_id
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
    job = jobs.find_without_request(context.db, context.job_id)
    moment = job.created_at if job else now()
    with opened(request, context) as source:
        rows = rows_of(source.stream, request.format)
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            prepared = [_prepared(row, form, moment) for row in rows.read(batch)]
            source.check()  # behind the reading: what is written was read from the file that was laid out
            yield from _stored(context.library, form, request.mode, prepared)


# Checking


def _prepared(row: Json | ValueError, form: LibraryCollection, moment: datetime) -> Prepared:
    """Return the document that a row stands for, or why it is not one of its collection."""
    if isinstance(row, ValueError):
        return failed("unreadable_row", f"The row can't be read: {row}.")
    try:
        document = _with_moments(row, form, moment)
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


def _with_moments(row: Json, form: LibraryCollection, begun_at: datetime) -> Json:
    """Return a row whose moments are such, where it has them as text, and the import's where they may be left out.

    That is one moment for the whole import: a row that is read again after a crash must be the same document.
    """
    found = dict(row)
    for name in form.moments:
        value = found.get(name)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            found[name] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        elif value is None and name in MADE:
            found[name] = begun_at
    return found


# Writing


def _stored(
    library: Db, form: LibraryCollection, mode: Mode, prepared: Sequence[Prepared], *, is_again: bool = False
) -> list[ItemOutcome]:
    """Write documents, and return the outcome of each row; of rows with one key the last is written."""
    documents = {_key(one, form): one for one in prepared if isinstance(one, dict)}
    known = _known(library, form, documents)
    writes: dict[Key, InsertOne[Json] | ReplaceOne[Json]] = {}
    outcomes: dict[Key, ItemOutcome] = {}
    for key, document in documents.items():
        there = known.get(key)
        if there is None:
            writes[key], outcomes[key] = InsertOne(_with_id(document, key)), _done(Action.INSERTED)
        elif mode is Mode.KEEP or {**document, "_id": there["_id"]} == there:
            outcomes[key] = _done(Action.UNCHANGED)
        else:
            whole = {**document, "_id": there["_id"]}
            writes[key], outcomes[key] = ReplaceOne({"_id": there["_id"]}, whole), _done(Action.REPLACED)
    refused = _write(library, form, writes)
    outcomes |= refused
    # Somebody has put them there since they were looked for: another chunk with the same row, or who had this one.
    met = [] if is_again else [key for key in refused if key not in known and "_id" not in documents[key]]
    if met:
        again = _stored(library, form, mode, [documents[key] for key in met], is_again=True)
        outcomes |= dict(zip(met, again, strict=True))
    return [one if isinstance(one, ItemOutcome) else outcomes[_key(one, form)] for one in prepared]


def _with_id(document: Json, key: Key) -> Json:
    """Return a document with the id that it has whoever writes it: a unique index keeps not all keys from being twice.

    Of a play it is the one under which those from Spotify are stored, too.
    """
    moment = next((one for one in (key[-1], document.get("updatedAt")) if isinstance(one, datetime)), None)
    if "_id" in document or len(key) == 1 or moment is None:
        return document
    return {"_id": play_id(key[0], Play(track_id=key[1], played_at=moment)), **document}


def _key(document: Json, form: LibraryCollection) -> Key:
    # MongoDB keeps milliseconds.
    return tuple(_cut(document[name]) for name in form.key)


def _cut(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000) if isinstance(value, datetime) else value


def _known(library: Db, form: LibraryCollection, documents: dict[Key, Json]) -> dict[Key, Json]:
    """Return the documents of these keys that are there already; each query is one that an index serves."""
    found: dict[Key, Json] = {}
    for query in _queries(form, list(documents)):
        for document in library.get_collection(form.name, codec_options=CODEC).find(query):
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
