"""What an export has stored, read back by whoever wants to hold it against the collection."""

from __future__ import annotations

import hashlib
import io

import pyarrow.parquet as pq

from shared.model import Db, Json
from shared.store import artifacts
from shared.store.artifacts import Artifact
from workers.export import columnar, delimited
from workers.export.extended_json import from_text
from workers.export.streams import decompressed
from workers.imports.records import Records


def download(db: Db, artifact: Artifact) -> bytes:
    """Return an artifact's bytes."""
    return b"".join(artifacts.stream(db, artifact, 0, artifact.size))


def checked_download(db: Db, file: Json) -> bytes:
    """Return the bytes of a file in an export's summary, having held one against the other."""
    content = download(db, artifacts.get(db, file["artifactId"]))
    assert len(content) == file["size"]
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    return content


def read(form: str, content: bytes) -> list[Json]:
    """Return the documents that a file holds."""
    if form == "parquet":
        return list(columnar.documents_of(pq.read_table(io.BytesIO(content))))
    if form == "csv":
        header, *records = Records(_plain(content), is_csv=True).from_place(0)
        columns = delimited.read_header(header.data.decode())
        return [delimited.read_document(record.data.decode().rstrip("\r\n"), columns) for record in records]
    text = _plain(content).read().decode()
    return list(from_text(text)) if form == "json" else [from_text(line) for line in text.split("\n") if line]


def _plain(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(decompressed(io.BytesIO(content)).read()))
