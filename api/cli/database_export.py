"""`backline database export`: the library as files on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.download import fetch
from api.cli.errors import WrongInput
from api.cli.export import STANDARD_OUTPUT, check_writable
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.options import AsJson, Data, Url

KIND = "data_export"


class FileFormat(StrEnum):
    """How documents are written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Compress(StrEnum):
    """How files are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


Form = Annotated[FileFormat, typer.Option("--format", "-f", help="How the documents are written.")]
Collections = Annotated[
    list[str] | None,
    typer.Option(
        "--collection", "-c", metavar="NAME", help="May be repeated; else audio_features and listening_history."
    ),
]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE|DIR", help="A file for one collection, else a folder; else here."),
]
Anonymize = Annotated[bool, typer.Option("--anonymize", help="Say of nobody who they are; cut dates to days.")]
Metadata = Annotated[bool, typer.Option("--metadata", help="Have the files say what they are.")]
Compression = Annotated[Compress, typer.Option("--compress", help="Compress the files.")]


def export_database(
    *,
    form: Form = FileFormat.JSON,
    collection: Collections = None,
    anonymize: Anonymize = False,
    metadata: Metadata = False,
    compress: Compression = Compress.NONE,
    to: Target = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Export collections of the library, wait, and download the files; what breaks off goes on when called again.

    Examples:

      backline database export --format parquet -o backup/

      backline database export -f csv -c listening_history --anonymize -o plays.csv
    """
    options = {"anonymize": anonymize, "includeMetadata": metadata, "compression": compress.value}
    request: Json = {"format": form.value, "options": options}
    if collection:
        request["collections"] = collection
    _check(to, collection or ())
    with connect(url, data) as client:
        job_id = client.submit(KIND, request)["id"]
        with goes_on([job_id]):
            (job,) = follow(client, [job_id], title="export")
        files = (job["summary"] or {}).get("files", [])
        targets = [_target(file, files, to) for file in files]
        for file, target in zip(files, targets, strict=True):
            fetch(client, file, target)
    if as_json:
        output.print_json({"job": job, "files": [str(target.absolute()) for target in targets]})
    else:
        _tell(job, files, targets)
    return exit_code_of([job])


def _check(to: Path | None, collections: Sequence[str]) -> None:
    """Find out before the work that the files can't be written. Raises `WrongInput`."""
    folder = to or Path()
    if folder.is_dir():
        if not os.access(folder, os.W_OK):
            raise WrongInput(f"{folder.absolute()} can't be written.", hint="Choose another place for --output.")
        return
    if len(collections) != 1:
        raise WrongInput(f"{folder} is no folder.", hint="Several collections need an existing folder for --output.")
    if folder == STANDARD_OUTPUT or (folder.exists() and not folder.is_file()):
        raise WrongInput(f"{folder} is no file.", hint="A download that can go on needs one.")
    check_writable(folder)


def _target(file: Json, files: Sequence[Json], to: Path | None) -> Path:
    if to is None or to.is_dir():
        return (to or Path()) / str(file["filename"])
    is_beside = file["rows"] is None  # what tells of a CSV file
    return to.with_name(f"{to.name}-metadata.json") if is_beside and len(files) > 1 else to


def _tell(job: Json, files: Sequence[Json], targets: Sequence[Path]) -> None:
    if job["error"]:
        output.say(f"{job['error']['code']}: {job['error']['message']}")
    for file, target in zip(files, targets, strict=True):
        rows = "" if file["rows"] is None else f"{output.plural(file['rows'], 'document')}, "
        output.say(f"{output.clean(target)}: {rows}{file['size']:,} bytes, SHA-256 {file['sha256']}")
