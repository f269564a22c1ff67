"""Finding the source of an import, and unpacking it on the machine that needs it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import file_digest, sha256
from pathlib import Path

from shared.clock import now
from shared.errors import (
    NotYet,
    PlanFailed,
    SourceChanged,
    SourceDamaged,
    SourceMissing,
    SourceRefused,
    SourceTooLarge,
    SourceUnavailable,
)
from shared.jobs.catalogue_import import AskedForm, Request, Unpacked
from shared.jobs.job import JobContext
from shared.paths import from_text, is_inside, to_text
from shared.store import imports, jobs
from shared.store.imports import ImportRecord, SourceState
from workers.catalogue import spool
from workers.catalogue.errors import DamagedError, SourceError, TooLargeError, UnavailableError
from workers.catalogue.fetch import Fetched, fetch
from workers.catalogue.formats import Form
from workers.catalogue.spool import Spool
from workers.spool import FOLDER

logger = logging.getLogger(__name__)

UNPACKED_TIMES = 8
TURN_PAUSE = timedelta(seconds=5)
ERRORS: dict[type[SourceError], type[PlanFailed]] = {
    DamagedError: SourceDamaged,
    TooLargeError: SourceTooLarge,
    UnavailableError: SourceUnavailable,
}


def unpack(request: Request, context: JobContext) -> Unpacked | None:
    """Return the source of a job, unpacked here; None where it has not changed since it was imported last.

    What is found the first time is noted with the job: from then on it is that, or nothing.

    Raises:
        PlanFailed: nothing can be imported from the source, and why.
        NotYet: another import of this library is at work.
    """
    record = imports.find(context.library, context.job_id)
    try:
        if record is None:
            record = _begin(request, context)
        if record.unchanged:
            return None
        if record.turn_at is None:
            wait_for_turn(context)
            imports.note_turn(context.library, context.job_id)
        return _presented(unpacked_for(record, request, context))
    except SourceError as error:
        failure = ERRORS.get(type(error), PlanFailed)
        raise failure(error.message) from error
    except OSError as error:
        raise PlanFailed(_full(error)) from error


def _full(error: OSError) -> str:
    return f"The worker's disk does not take the source: {error.strerror or error}."


def wait_for_turn(context: JobContext) -> None:
    """Make this the library's only import. Raises `NotYet` while another job is at it."""
    if imports.take_turn(context.library, context.job_id):
        return
    holder = imports.find_running(context.library)
    job = jobs.find_without_request(context.db, holder) if holder is not None else None
    if holder is not None and (job is None or job.status.is_final):
        imports.end_turn(context.library, holder)  # it was cancelled, or failed before its end
        if imports.take_turn(context.library, context.job_id):
            return
    raise NotYet(f"The import {holder} is at work; two at a time would undo each other.", resumes_at=now() + TURN_PAUSE)


# The first time


def _begin(request: Request, context: JobContext) -> ImportRecord:
    """Look at the source, unpack it unless it is the one that was imported last, and note what it is."""
    asked = imports.find_last(context.library, request.slug)
    with _source(request, context, asked) as source:
        catalogue = _catalogue(source, request, context)
        last = asked if catalogue == request.slug else imports.find_last(context.library, catalogue)
        record = ImportRecord(
            id=context.job_id,
            catalogue=catalogue,
            source=source.name,
            is_release=request.release,
            state=source.state,
            started_at=now(),
        )
        is_known = last is not None and not request.force and _is_same_kind(last, request)
        if source.is_unchanged or (is_known and last is not None and last.state.digest == source.state.digest):
            return _noted_unchanged(record, last, context)
        found = _unpack(source.path, record, request, context)
    record = record.model_copy(
        update={
            "form": found.form.value,
            "content": found.digest,
            "last_update": found.last_update,
            "entries": found.entries,
        }
    )
    if is_known and last is not None and last.content == found.digest:
        return _noted_unchanged(record, last, context)
    imports.insert(context.library, record)
    return record


def _catalogue(source: _Source, request: Request, context: JobContext) -> str:
    """Return the catalogue that a source is a release of: what it holds says so where the request leaves it open."""
    if request.catalogue is not None or request.release or request.form is not AskedForm.AUTO:
        return request.slug
    form = spool.shown_form(source.path, bytes_max=_bytes_max(context))
    return request.slug if form is None else form.value


def _is_same_kind(last: ImportRecord, request: Request) -> bool:
    return request.form is AskedForm.AUTO or last.form == request.form.value


def _noted_unchanged(record: ImportRecord, last: ImportRecord | None, context: JobContext) -> ImportRecord:
    known = {} if last is None else {"form": last.form, "last_update": last.last_update, "entries": last.entries}
    record = record.model_copy(update={**known, "unchanged": True, "finished_at": now()})
    imports.insert(context.library, record)
    return record


# Any other time, and on any other machine


def unpacked_for(record: ImportRecord, request: Request, context: JobContext) -> Spool:
    """Return a job's source, unpacked here. Raises `SourceChanged` when it is another one by now; `SourceError`."""
    found = spool.find(_folder(context), _name(record, request))
    if found is None:
        with _source(request, context, None) as source:
            if source.state.digest != record.state.digest:
                raise SourceChanged(f"{record.source} is not the file any more that the job began with.")
            found = _unpack(source.path, record, request, context)
    return found


def _unpack(path: Path, record: ImportRecord, request: Request, context: JobContext) -> Spool:
    form = None if request.form is AskedForm.AUTO else Form(request.form.value)
    return spool.unpack(path, _folder(context), _name(record, request), form=form, bytes_max=_bytes_max(context))


def _bytes_max(context: JobContext) -> int:
    return context.settings.catalogue_bytes_max * UNPACKED_TIMES


def _folder(context: JobContext) -> Path:
    return context.settings.data_dir / FOLDER


def _name(record: ImportRecord, request: Request) -> str:
    return f"{record.state.digest}-{request.form.value}"


def _presented(found: Spool) -> Unpacked:
    return Unpacked(path=found.path, entries=found.entries)


# Where it comes from


class _Source:
    """A file to read, what is known of it, and the name that it goes by."""

    def __init__(self, *, name: str, path: Path, state: SourceState, is_unchanged: bool = False) -> None:
        self.name = name
        self.path = path
        self.state = state
        self.is_unchanged = is_unchanged


@contextmanager
def _source(request: Request, context: JobContext, last: ImportRecord | None) -> Iterator[_Source]:
    if request.path is not None:
        yield _file(request.path, context)
        return
    is_known = last is not None and last.is_release and not request.force and _is_same_kind(last, request)
    known = last if is_known else None
    settings = context.settings
    folder = _folder(context)
    folder.mkdir(parents=True, exist_ok=True)
    # An odd character in a job's id must not lead elsewhere.
    target = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', context.job_id)}-{os.getpid()}.download"
    try:
        fetched = fetch(
            settings.catalogue_url,
            target,
            etag=known.state.etag if known and known.source == settings.catalogue_url else None,
            last_modified=known.state.last_modified if known and known.source == settings.catalogue_url else None,
            bytes_max=settings.catalogue_bytes_max,
            seconds=settings.catalogue_download_seconds,
        )
        yield _release(settings.catalogue_url, target, fetched, known)
    finally:
        with suppress(FileNotFoundError):
            target.unlink()


def _release(url: str, target: Path, fetched: Fetched | None, known: ImportRecord | None) -> _Source:
    if fetched is None:
        assert known is not None
        return _Source(name=url, path=target, state=known.state, is_unchanged=True)
    state = SourceState(
        digest=fetched.digest, size=fetched.size, etag=fetched.etag, last_modified=fetched.last_modified
    )
    return _Source(name=url, path=target, state=state)


def _file(text: str, context: JobContext) -> _Source:
    """Return the file behind a path, if it lies inside the allowed folders with every symlink resolved."""
    path = from_text(text)
    real = os.path.realpath(path)
    name, settings = to_text(path), context.settings
    roots = (*settings.catalogue_roots, *settings.music_roots)
    if not is_inside(real, roots):
        way = " by way of a symlink" if is_inside(path, roots) else ""
        folders = "BACKLINE_CATALOGUE_ROOTS, BACKLINE_MUSIC_ROOTS"
        raise SourceRefused(f"{name} is{way} outside the folders that may be read ({folders}).")
    try:
        status = os.stat(real)
        if status.st_size > settings.catalogue_bytes_max:
            raise SourceTooLarge(f"{name} has {status.st_size:,} bytes, more than {settings.catalogue_bytes_max:,}.")
        with open(real, "rb") as file:
            digest = file_digest(file, sha256).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceMissing(f"{name} does not exist.") from None
    except OSError as error:
        raise SourceMissing(f"{name} can't be read: {error.strerror}.") from None
    state = SourceState(digest=digest, size=status.st_size, mtime_ns=status.st_mtime_ns)
    return _Source(name=name, path=Path(os.fsdecode(real)), state=state)
