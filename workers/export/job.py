"""The work of the job kind `data_export`: ranges of documents in, stored parts out, and files made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bson.errors import InvalidBSON

from shared.errors import ItemFailed
from shared.filters import to_query
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.data_export import Item, Request, Result
from shared.jobs.job import JobContext
from shared.library import COLLECTIONS
from shared.model import Json
from shared.store import artifacts, exports, outcomes
from shared.store.artifacts import StoredFile, Writer, artifact_id
from shared.store.exports import Export
from workers.export.assembly import Assembly
from workers.export.extended_json import CODEC
from workers.export.parts import write_part
from workers.export.pseudonyms import Pseudonyms


def export_parts(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each item's outcome: a part is stored, or the parts of a collection are put together."""
    export = exports.begin(context.library, context.job_id, keeps=context.settings.artifact_ttl)
    for item in items:
        try:
            done = _write if item.ids else _finish
            yield succeeded(done(request, item, export, context))
        except ItemFailed as error:
            yield failed(error.item_code, error.message)
        except InvalidBSON as error:
            yield failed("unreadable_document", f"A document of {item.collection} can't be read: {error}.")


def _write(request: Request, item: Item, export: Export, context: JobContext) -> Result:
    name = f"{artifact_id(context.job_id, item.collection)}/{item.part}"
    with Writer(context.library, name, export.expires_at) as writer:
        written = write_part(_documents(request, item, export, context), request.format, request.options, writer.stream)
        stored = writer.keep(
            {
                "rows": written.rows,
                # Pairs, for a column's name may hold what the name of a field may not.
                "columns": [[column, str(kind)] for column, kind in written.columns.items()],
                "hasNulls": written.has_nulls,
            }
        )
    return Result(rows=written.rows, size=stored.length, sha256=stored.sha256, file=stored.id)


def _documents(request: Request, item: Item, export: Export, context: JobContext) -> Iterator[Json]:
    """Yield the documents of a range that the request wants, as it wants them."""
    assert item.ids is not None
    conditions = to_query(request.filters.get(item.collection, {}))
    span = item.ids.query()
    fields = request.fields.get(item.collection)
    projection = dict.fromkeys(("_id", *fields), 1) if fields else None
    collection = context.library.get_collection(item.collection, codec_options=CODEC)
    found = collection.find({"$and": [span, conditions]} if conditions else span, projection)
    if not request.options.anonymize:
        yield from found
        return
    if export.key is None:
        raise ItemFailed("key_gone", "The key of this export's pseudonyms was thrown away: export anew.")
    pseudonyms = Pseudonyms(export.key, is_public=COLLECTIONS[item.collection].is_public)
    yield from map(pseudonyms.anonymous, found)


def _finish(request: Request, item: Item, export: Export, context: JobContext) -> Result:
    """Put the parts of a collection together. Raises `ItemFailed` where some are missing."""
    made = artifacts.find(context.library, artifact_id(context.job_id, item.collection))
    if made is None:
        parts = _parts(item, context)
        assembly = Assembly(
            library=context.library, request=request, collection=item.collection, export=export, parts=parts
        )
        made = assembly.finish()
    return Result(rows=made.rows or 0, size=made.size, sha256=made.sha256, artifact_id=made.id)


def _parts(item: Item, context: JobContext) -> list[StoredFile]:
    """Return the files of a collection's parts, in order. Raises `ItemFailed`."""
    files: dict[int, str] = {}
    for stored in outcomes.iterate_good(context.db, context.job_id, epochs=context.epoch + 1):
        if stored.item["collection"] == item.collection and stored.item["part"] is not None and stored.result:
            files[stored.item["part"]] = stored.result["file"]
    missing = (item.parts or 0) - len(files)
    if missing:
        raise ItemFailed("parts_missing", f"{missing:,} parts of {item.collection} were not written: retry the job.")
    found = [artifacts.find_file(context.library, files[part]) for part in sorted(files)]
    if None in found:
        raise ItemFailed("parts_gone", f"Parts of {item.collection} have expired: export anew.")
    return [file for file in found if file is not None]
