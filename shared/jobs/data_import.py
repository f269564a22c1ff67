"""The job kind `data_import`: a file of rows in, documents of a library's collection out, each row with its outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from shared.access import Scope
from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.data_export import CollectionName
from shared.jobs.job import JobContext, JobKind, JobRequest, Plan, Planned
from shared.library import COLLECTIONS
from shared.model import Body, Cursor
from shared.paths import require_absolute

PLAN = "workers.imports.planning"
"""The module that lays out the rows: like the work, it needs libraries that only workers have."""


class Format(StrEnum):
    """How the rows are written; gzip and Zstandard are recognised by their first bytes."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Mode(StrEnum):
    """What becomes of a document that is there already, by the key of its collection."""

    REPLACE = "replace"
    KEEP = "keep"


class Request(JobRequest):
    """What to import, and where to."""

    collection: CollectionName = Field(description="The collection of your library that the rows belong to")
    format: Format = Field(description="How the rows are written, as `data_export` writes them")
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(require_absolute)] | None = Field(
        default=None, description="A file below the allowed roots of the workers, which must not change meanwhile"
    )
    artifact_id: str | None = Field(default=None, min_length=1, max_length=256, description="Or a file of an export")
    mode: Mode = Field(
        default=Mode.REPLACE,
        description=(
            "What becomes of a document that is there already, by its key: "
            + "; ".join(f"{one.name} by {', '.join(one.key)}" for one in COLLECTIONS.values())
        ),
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.path is None) == (self.artifact_id is None):
            raise ValueError("give either path or artifactId")
        return self


class Item(Body):
    """One row."""

    row: int = Field(description="Its number, 1 for the first; a line of column names is none")
    at: int = Field(description="Where it begins: bytes of the uncompressed file, or rows of a table")


class Action(StrEnum):
    """What a row did."""

    INSERTED = "inserted"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


class Result(Body):
    """What a row did."""

    action: Action


class Summary(Body):
    """What the collection holds after the import."""

    collection: str
    imported: int = Field(description="Rows that were written")
    unchanged: int = Field(description="Rows that were there already")
    failed: int
    documents: int = Field(description="Documents of the collection, by the server's own count")


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the rows, in order."""
    lay_out: Plan = import_module(PLAN).plan
    return lay_out(request, cursor, context)


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Nothing to merge: rows are written in bulk as they are read."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Count."""
    return Summary(
        collection=request.collection,
        imported=counts[ItemStatus.SUCCEEDED],
        unchanged=counts[ItemStatus.CACHED],
        failed=counts[ItemStatus.FAILED],
        documents=context.library[request.collection].estimated_document_count(),
    )


KIND = JobKind(
    name="data_import",
    tool="import_data",
    title="Import data",
    description=(
        "Import rows of a JSON Lines, CSV or Parquet file (gzip or Zstandard, too) into a collection of your library."
        " Each row is checked against the collection's form and has its own outcome: its number, and why it failed."
    ),
    queue=Queue.BULK,
    scope=Scope.DATABASE,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.imports.job:import_rows",
    merge=merge,
    summarise=summarise,
    item_seconds=0.001,
    chunk_items_max=2_000,
    may_be_empty=True,
    examples=({"collection": "listening_history", "format": "csv", "path": "/music/imports/plays.csv.gz"},),
)
