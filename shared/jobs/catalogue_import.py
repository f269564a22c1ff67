"""The job kind `catalogue_import`: a release of a catalogue in, entries that keep their ids over all releases out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.broker import Queue
from shared.dotted import resolve
from shared.items import ItemStatus
from shared.jobs.job import FollowUp, JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.paths import require_absolute
from shared.store import imports
from shared.store.imports import Counts

UNPACK = "workers.catalogue.unpacking:unpack"
"""What finds the source and unpacks it: only a worker's plan calls it, for only workers have what it needs."""

SETTLE_SECONDS_MAX = 4 * 3600.0
SourcePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(require_absolute)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class AskedForm(StrEnum):
    """What the entries are said to be."""

    AUTO = "auto"  # the first entry shows it
    ANIME = "anime"
    TRACKS = "tracks"


class Action(StrEnum):
    """What became of an entry."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REVIVED = "revived"  # it had been gone
    DUPLICATE = "duplicate"  # an earlier entry of the same release is the same


class Request(JobRequest):
    """Which source to import, and into which catalogue."""

    path: SourcePath | None = Field(
        default=None, description="A file below the allowed roots of the workers: JSON, JSON Lines, CSV; also .gz, .zst"
    )
    release: bool = Field(default=False, description="Import the public release that is configured")
    form: AskedForm = Field(default=AskedForm.AUTO, description="What the entries are; auto: the first one shows it")
    catalogue: Slug | None = Field(
        default=None,
        description=(
            "The catalogue that this is a release of; what the release no longer has is marked as removed from it."
            " Without one: tracks where the entries are tracks, else anime"
        ),
    )
    force: bool = Field(
        default=False,
        description="Import a source that has not changed; mark as removed also where more than half would go",
    )
    index: bool = Field(default=True, description="Bring the search index up to date afterwards")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.path is not None) == self.release:
            raise ValueError("give either a path or release: true")
        return self

    @property
    def slug(self) -> str:
        """The catalogue's name, as far as the request says it; where the form is auto, tracks go to their own."""
        return self.catalogue or ("tracks" if self.form is AskedForm.TRACKS else "anime")


class Item(Body):
    """One entry by its place in the unpacked source; or the step that settles what all of them together mean."""

    offset: int | None = None  # bytes
    number: int | None = Field(default=None, description="Its place among the entries, from 1")
    title: str | None = None
    step: Literal["settle"] | None = None


class Result(Body):
    """What became of an entry; of the last step nothing more is said."""

    item_id: str | None = None
    action: Action | None = None
    warnings: tuple[str, ...] = ()


class Summary(Body):
    """What the import did to the catalogue."""

    catalogue: str
    source: str | None = Field(description="The path or the address that was read")
    release_date: str | None = Field(default=None, description="What the release says of itself, YYYY-MM-DD")
    unchanged: bool = Field(default=False, description="It was imported before, so nothing was done")
    settled: bool = Field(default=False, description="All of it was read, so that what it no longer has is removed")
    entries: int = 0
    new: int = 0
    changed: int = 0
    same: int = Field(default=0, description="Entries that were there as they are")
    removed: int = 0
    revived: int = 0
    duplicates: int = 0
    carried_over: int = Field(default=0, description="Kept their id although the source that they had it from is gone")
    kept_back: int = Field(default=0, description="More than half would have gone: nothing was removed without `force`")
    failed: int = 0
    warnings: dict[str, int] = Field(default_factory=dict, description="How often what was put right, by code")
    failures: dict[str, int] = Field(default_factory=dict, description="How many entries could not be used, by code")


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A source with one entry in each line, behind a label and a tab."""

    path: Path
    entries: int


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the entries by their places, then the step that settles the whole; nothing of a source that is known."""
    known = cursor or {}
    if known.get("settled"):
        return
    source: Unpacked | None = resolve(UNPACK)(request, context)
    if source is None:
        return
    offset, number = int(known.get("offset", 0)), int(known.get("number", 0))
    with source.path.open("rb") as file:
        file.seek(offset)
        for line in file:
            number += 1
            item = Item(offset=offset, number=number, title=_label(line))
            offset += len(line)
            yield Planned(item=item, cursor={"offset": offset, "number": number})
    yield Planned(item=Item(step="settle"), cursor={"settled": True})


def _label(line: bytes) -> str:
    return line[1 : line.index(b'"\t')].decode("ascii", "replace")


def last_step(item: Item) -> Queue | None:
    """Have the whole settled alone, when every entry has its outcome."""
    return Queue.INDEX if item.step else None


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Do nothing: entries are stored as they are read, since only that shows whether they are new."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Say what was noted of the import."""
    record = imports.find(context.library, context.job_id)
    if record is None:
        return Summary(catalogue=request.slug, source=request.path, failed=counts[ItemStatus.FAILED])
    found = record.counts or Counts(failed=counts[ItemStatus.FAILED])
    told = found.model_dump(exclude={"unchanged"})
    return Summary(
        catalogue=record.catalogue,
        source=record.source,
        release_date=record.last_update,
        unchanged=record.unchanged,
        settled=record.finished_at is not None and not record.unchanged,
        entries=record.entries,
        same=found.unchanged,
        **told,
    )


def follow_up(request: Request, context: JobContext) -> FollowUp | None:
    """Have the search index brought up to date where anything is other than it was."""
    record = imports.find(context.library, context.job_id)
    if not request.index or record is None or record.unchanged:
        return None
    counts = record.counts
    if counts is not None and not (counts.new or counts.changed or counts.removed or counts.revived):
        return None
    return FollowUp(kind="vector_index", request={"index": "catalogue"})


KIND = JobKind(
    name="catalogue_import",
    tool="import_catalogue",
    title="Import a catalogue",
    description=(
        "Import a release of a catalogue of anime (anime-offline-database) or tracks into the library. Entries keep"
        " their ids over all releases, what a release no longer has is marked as removed, and one that is known"
        " already does nothing."
    ),
    queue=Queue.BULK,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.catalogue.job:import_entries",
    merge=merge,
    summarise=summarise,
    last_step=last_step,
    follow_up=follow_up,
    may_be_empty=True,
    item_seconds=0.001,
    item_seconds_max=SETTLE_SECONDS_MAX,
    chunk_items_max=500,
    examples=(
        {"userId": "ada", "release": True},
        {"userId": "ada", "path": "/data/anime-offline-database.jsonl.zst"},
        {"userId": "ada", "path": "/data/tracks.csv", "form": "tracks", "catalogue": "radio"},
    ),
)
