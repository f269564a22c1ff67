"""The job kind `data_export`: collections of a library in, files that can be downloaded out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from shared.access import Scope
from shared.broker import Queue
from shared.filters import FieldPath, Filter
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.library import COLLECTIONS, checked_collection
from shared.model import Body, Cursor, Db
from shared.store import artifacts, exports, sizes
from shared.store.artifacts import Artifact
from shared.store.id_ranges import IdRange, ranges_of

PART_BYTES = 4 << 20
"""A part of an export is this much of a collection: what a worker holds in memory, and repeats after a crash."""
PART_ROWS = (100, 5_000)
PARTS_MAX = 20_000
"""An artifact names its parts in one document."""
FIELDS_MAX = 200
HOURS = 3600.0


class Format(StrEnum):
    """How the documents of an export are written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Compression(StrEnum):
    """How the files of an export are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class ExtendedJson(StrEnum):
    """The form of MongoDB's Extended JSON v2."""

    RELAXED = "relaxed"
    CANONICAL = "canonical"


def _named(value: Any) -> Any:
    """Take the plain yes or no that some clients send for the compression that is meant by it."""
    if isinstance(value, bool):
        return Compression.GZIP if value else Compression.NONE
    return value


CollectionName = Annotated[
    str,
    AfterValidator(checked_collection),
    Field(json_schema_extra={"enum": list(COLLECTIONS)}),
]


class Options(Body):
    """What the files hold beside the documents, and what they leave out."""

    include_metadata: bool = Field(
        default=False,
        description=(
            "Say in the file itself what it is: version, moment, filters, counts, columns. JSON becomes"
            " {metadata, documents}, JSON Lines begins with a line {backlineExport}, Parquet has it in its footer, and"
            " CSV has a file of its own beside it"
        ),
    )
    anonymize: bool = Field(
        default=False,
        description=(
            "Replace users, owners, names, e-mail addresses and paths by pseudonyms under a key that is made for this"
            " export and thrown away, ObjectIds likewise, and cut dates to the day (UTC)"
        ),
    )
    compression: Annotated[Compression, BeforeValidator(_named)] = Field(
        default=Compression.NONE, description="Of the file; in Parquet, of its pages"
    )
    extended_json: ExtendedJson = Field(
        default=ExtendedJson.RELAXED,
        description=(
            "For json and jsonl: relaxed has plain numbers, canonical keeps the width of every number, so that what is"
            " read back is the same byte for byte"
        ),
    )


class Request(JobRequest):
    """What to export, and how."""

    format: Format = Field(default=Format.JSON, description="How the documents are written")
    collections: tuple[CollectionName, ...] = Field(
        default=("audio_features", "listening_history"),
        min_length=1,
        max_length=len(COLLECTIONS),
        description="Which collections of your library, each as a file of its own",
    )
    filters: dict[CollectionName, Filter] = Field(
        default_factory=dict,
        description="By collection and field: a value, or {eq, in, gt, gte, lt, lte, exists}; all must hold",
    )
    fields: dict[CollectionName, Annotated[tuple[FieldPath, ...], Field(min_length=1, max_length=FIELDS_MAX)]] = Field(
        default_factory=dict, description="By collection: the only fields to export, beside _id"
    )
    options: Options = Options()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.collections)) < len(self.collections):
            raise ValueError("collections names one twice")
        for name in (*self.filters, *self.fields):
            if name not in self.collections:
                raise ValueError(f"{name} is filtered but not exported")
        for fields in self.fields.values():
            _check_apart(fields)
        return self


def _check_apart(fields: Sequence[str]) -> None:
    """Raise `ValueError` where one of the fields lies in another: MongoDB takes no such projection."""
    for field in fields:
        inner = [other for other in fields if other == field or other.startswith(f"{field}.")]
        if len(inner) > 1:
            raise ValueError(f"fields names {field} and, with it, {inner[-1]} twice")


class Item(Body):
    """A range of a collection's documents, or the step that puts the parts of a collection together."""

    collection: str
    part: int | None = Field(default=None, description="The place of this part among those of its collection")
    ids: IdRange | None = None
    parts: int | None = Field(default=None, description="How many parts are put together; null for a part")


class Result(Body):
    """A part that is stored, or a file that can be downloaded."""

    rows: int
    size: int = Field(description="Bytes")
    sha256: str
    file: str | None = Field(default=None, description="Where the part is stored")
    artifact_id: str | None = Field(default=None, description="The file that was put together")


class ExportedFile(Body):
    """A file that can be downloaded until it expires."""

    name: str = Field(description="The collection, or what the file tells of it")
    artifact_id: str
    href: str = Field(description="Where it is downloaded, with the same key; ranges are supported")
    filename: str
    content_type: str
    rows: int | None
    size: int = Field(description="Bytes of what is downloaded")
    sha256: str = Field(description="Of what is downloaded")
    expires_at: datetime


class Summary(Body):
    """What was exported."""

    rows: int
    size: int = Field(description="Bytes of all files")
    files: tuple[ExportedFile, ...]


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the ranges of each collection, and then a step for each that puts its parts together."""
    state = cursor or {"at": 0, "parts": []}
    for at in range(state["at"], len(request.collections)):
        name, parts = request.collections[at], list(state["parts"][:at])
        part = state["parts"][at] if len(state["parts"]) > at else 0
        place = IdRange.model_validate(state["place"]) if state.get("place") else None
        rows = state.get("rows") or part_rows(context.library, name)
        for ids in ranges_of(context.library, name, behind=place, size=rows):
            item = Item(collection=name, part=part, ids=ids)
            part += 1
            behind = ids.model_dump(mode="json", exclude_none=True)
            yield Planned(item=item, cursor={"at": at, "parts": [*parts, part], "place": behind, "rows": rows})
        state = {"at": at + 1, "parts": [*parts, part]}
    for step in range(state.get("step", 0), len(request.collections)):
        item = Item(collection=request.collections[step], parts=state["parts"][step])
        yield Planned(item=item, cursor={"at": len(request.collections), "parts": state["parts"], "step": step + 1})


def part_rows(library: Db, name: str) -> int:
    """Return how many documents make a part."""
    size = sizes.of_collection(library, name)
    least, most = PART_ROWS
    fit = min(max(PART_BYTES // max(size.average, 1), least), most)
    return max(fit, size.documents // PARTS_MAX)


def last_step(item: Item) -> Queue | None:
    """Have a collection put together when all its parts are there."""
    return None if item.parts is None else Queue.BULK


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Nothing to merge: what is written stands in the artifact store."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Name the files; once all are there, nobody needs the key of their pseudonyms any more."""
    files = artifacts.find_of_job(context.library, context.job_id)
    if not counts[ItemStatus.FAILED]:
        exports.forget_key(context.library, context.job_id)
    return Summary(
        rows=sum(file.rows or 0 for file in files),
        size=sum(file.size for file in files),
        files=tuple(map(described, files)),
    )


def described(artifact: Artifact) -> ExportedFile:
    """Return what there is to say of a file."""
    return ExportedFile(
        name=artifact.name,
        artifact_id=artifact.id,
        href=f"/api/artifacts/{artifact.id}",
        filename=artifact.filename,
        content_type=artifact.content_type,
        rows=artifact.rows,
        size=artifact.size,
        sha256=artifact.sha256,
        expires_at=artifact.expires_at,
    )


KIND = JobKind(
    name="data_export",
    tool="export_data",
    title="Export data",
    description=(
        "Export collections of your library (features, listening history, recommendations, users, catalogue) as JSON,"
        " JSON Lines, CSV or Parquet files to download. The summary names the files with their rows and SHA-256."
    ),
    queue=Queue.BULK,
    scope=Scope.DATABASE,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.export.job:export_parts",
    merge=merge,
    summarise=summarise,
    last_step=last_step,
    item_seconds=1.0,
    item_seconds_max=6 * HOURS,
    chunk_items_max=8,
    examples=(
        {"format": "jsonl", "options": {"compression": "zstd"}},
        {
            "format": "csv",
            "collections": ["listening_history"],
            "filters": {"listening_history": {"playedAt": {"gte": "2026-01-01T00:00:00Z"}}},
            "options": {"anonymize": True, "includeMetadata": True},
        },
    ),
)
