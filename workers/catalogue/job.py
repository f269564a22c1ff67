"""The work of the job kind `catalogue_import`: entries of an unpacked source in, documents that keep their ids out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.errors import BacklineError, ItemFailed, NotYet
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.catalogue_import import Item, Request, Result
from shared.jobs.job import JobContext
from shared.store import imports
from shared.store.imports import ImportRecord
from workers.catalogue.errors import SourceError
from workers.catalogue.settling import Settling
from workers.catalogue.storing import Batch
from workers.catalogue.unpacking import unpacked_for, wait_for_turn


def import_entries(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Store the entries and yield each one's outcome; or settle the whole, which is alone in its chunk."""
    try:
        record = _begun(context)
        source = unpacked_for(record, request, context)
        if items[0].step is not None:
            Settling(request, record, source, context).settle()
            outcomes = [succeeded(Result())]
        else:
            outcomes = Batch(record, source, context).store(items)
    except NotYet:
        raise
    except ItemFailed as error:
        outcomes = [failed(error.item_code, error.message)] * len(items)
    except BacklineError as error:  # of the source, whose remedy is no matter of one entry
        outcomes = [failed(error.code, f"{error.message} {error.advice}")] * len(items)
    except SourceError as error:
        outcomes = [failed(error.code, error.message)] * len(items)
    except OSError as error:
        message = f"The worker's disk does not hold the source: {error.strerror or error}."
        outcomes = [failed("source_unreadable", message)] * len(items)
    yield from outcomes


def _begun(context: JobContext) -> ImportRecord:
    """Return the job's import, when it is its turn.

    Raises:
        NotYet: another import of this library is at work.
        ItemFailed: a later one has been settled meanwhile, and must not be undone.
    """
    record = imports.find(context.library, context.job_id)
    if record is None:
        raise ItemFailed("source_changed", "Nothing is known of this import any more: submit a new job.")
    wait_for_turn(context)
    last = imports.find_last(context.library, record.catalogue)
    if last is not None and last.id != record.id and _is_later(last, record):
        imports.end_turn(context.library, context.job_id)
        raise ItemFailed("superseded", f"The later import {last.id} has been settled: submit a new job.")
    return record


def _is_later(other: ImportRecord, record: ImportRecord) -> bool:
    """Whether another import was settled when it had been this one's turn already."""
    return bool(other.finished_at and record.turn_at and other.finished_at > record.turn_at)
