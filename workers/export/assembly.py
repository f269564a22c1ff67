"""Putting the parts of one collection together: a file that is served from its parts, or one that is written anew."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from shared.clock import now
from shared.errors import ItemFailed
from shared.jobs.data_export import Compression, Format, Request
from shared.model import Db, Json
from shared.store import artifacts
from shared.store.artifacts import Artifact, Segment, StoredFile, Writer, artifact_id
from shared.store.exports import Export
from workers.export import columnar, delimited
from workers.export.columns import Kind, union
from workers.export.compression import compressing
from workers.export.parts import ARROW_COMPRESSION, SEPARATOR
from workers.export.streams import BlockReader, decompressed

ENDINGS = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}
MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.JSONL: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
}
COMPRESSED_TYPES = {Compression.GZIP: "application/gzip", Compression.ZSTD: "application/zstd"}
METADATA = "backlineExport"


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One collection of an export whose parts are all there."""

    library: Db
    request: Request
    collection: str
    export: Export
    parts: Sequence[StoredFile]

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """The columns of all parts. Raises `ItemFailed`."""
        return union(_columns(part) for part in self.parts)

    @property
    def rows(self) -> int:
        """How many documents there are."""
        return sum(int(part.metadata["rows"]) for part in self.parts)

    def finish(self) -> Artifact:
        """Store the artifact, and return it. Raises `ItemFailed`."""
        form, options = self.request.format, self.request.options
        if form is Format.PARQUET:
            segments: list[Segment] = [self._merged()]
        else:
            segments = list(self._csv() if form is Format.CSV else self._json())
        if form is Format.CSV and options.include_metadata:
            text = json.dumps(self.metadata(), ensure_ascii=False, indent=2).encode() + b"\n"
            self._save([_inline(text)], name=f"{self.collection}-metadata", ending=".json", media="application/json")
        is_wrapped = form is not Format.PARQUET and options.compression is not Compression.NONE
        ending = f".{form.value}{ENDINGS[options.compression] if is_wrapped else ''}"
        media = COMPRESSED_TYPES[options.compression] if is_wrapped else MEDIA_TYPES[form]
        artifact = self._save(segments, name=self.collection, ending=ending, media=media, rows=self.rows)
        kept = {segment.file for segment in segments}
        artifacts.delete_files(self.library, [part.id for part in self.parts if part.id not in kept])
        return artifact

    def _save(
        self, segments: Sequence[Segment], *, name: str, ending: str, media: str, rows: int | None = None
    ) -> Artifact:
        artifact = Artifact(
            id=artifact_id(self.export.job_id, name),
            job_id=self.export.job_id,
            name=name,
            filename=f"{name}-{self.export.started_at:%Y%m%d}{ending}",
            content_type=media,
            segments=tuple(segments),
            size=sum(segment.size for segment in segments),
            sha256=self._verified(segments),
            rows=rows,
            created_at=now(),
            expires_at=self.export.expires_at,
        )
        artifacts.save(self.library, artifact)
        return artifact

    def _verified(self, segments: Sequence[Segment]) -> str:
        """Return the hash of the whole, having held each part against its own. Raises `ItemFailed`."""
        whole = hashlib.sha256()
        known = {part.id: part.sha256 for part in self.parts}
        for segment in segments:
            if segment.file is None:
                whole.update(segment.data)
                continue
            own = hashlib.sha256()
            for block in artifacts.read(self.library, segment.file, 0, segment.size):
                whole.update(block)
                own.update(block)
            if own.hexdigest() != known.get(segment.file, own.hexdigest()):
                raise ItemFailed("corrupt_part", f"The part {segment.file} is not what was written: export anew.")
        return whole.hexdigest()

    # What the file says of itself

    def metadata(self) -> Json:
        """Return what the export is; of an anonymous one nothing that says whose it is."""
        request, is_anonymous = self.request, self.request.options.anonymize
        filters = request.model_dump(mode="json", by_alias=True, exclude_unset=True).get("filters", {})
        return {
            "backlineVersion": version("backline"),
            "exportedAt": _moment(self.export.started_at, is_anonymous),
            "collection": self.collection,
            "format": request.format.value,
            "extendedJson": request.options.extended_json.value if self._is_json else None,
            "anonymized": is_anonymous,
            "filters": None if is_anonymous else filters.get(self.collection),
            "fields": list(request.fields.get(self.collection, ())) or None,
            "rows": self.rows,
            "columns": [{"name": name, "type": kind.value} for name, kind in self.columns.items()],
        }

    @property
    def _is_json(self) -> bool:
        return self.request.format in (Format.JSON, Format.JSONL)

    def _metadata_line(self) -> bytes:
        return json.dumps(self.metadata(), ensure_ascii=False, separators=(",", ":")).encode()

    # Segments

    def _json(self) -> Iterator[Segment]:
        is_list = self.request.format is Format.JSON
        head, tail = (b"[\n", b"\n]\n") if is_list else (b"", b"")
        if self.request.options.include_metadata:
            line = self._metadata_line()
            head = b'{"metadata":%b,\n"documents":[\n' % line if is_list else b'{"%b":%b}\n' % (METADATA.encode(), line)
            tail = b"\n]}\n" if is_list else b""
        yield from self._small(head)
        is_first = True
        for part in self.parts:
            if not part.metadata["rows"]:
                continue
            if is_list and not is_first:
                yield from self._small(SEPARATOR)
            is_first = False
            yield Segment(file=part.id, size=part.length)
        yield from self._small(tail)

    def _csv(self) -> Iterator[Segment]:
        names = list(self.columns)
        if names:
            yield from self._small(delimited.header(names))
        for part in self.parts:
            if part.metadata["rows"]:
                stored = part if list(_columns(part)) == names else self._rewritten(part, names)
                yield Segment(file=stored.id, size=stored.length)

    def _rewritten(self, part: StoredFile, names: Sequence[str]) -> StoredFile:
        """Return the part under all columns; the parts before it may have shown others."""
        lines = io.TextIOWrapper(decompressed(self._stream(part)), encoding="utf-8", newline="")
        with Writer(self.library, part.filename, self.export.expires_at) as writer:
            with compressing(writer.stream, self.request.options.compression) as target:
                delimited.rewrite(lines, list(_columns(part)), names, target)
            return writer.keep(part.metadata)

    def _small(self, data: bytes) -> Iterator[Segment]:
        if data:
            packed = io.BytesIO()
            with compressing(packed, self.request.options.compression) as target:
                target.write(data)
            yield _inline(packed.getvalue())

    def _stream(self, part: StoredFile) -> io.BufferedReader:
        blocks = artifacts.read(self.library, part.id, 0, part.length)
        return io.BufferedReader(cast(io.RawIOBase, BlockReader(blocks)))

    # Parquet

    def _merged(self) -> Segment:
        """Write the tables of all parts into one file: columns are the same in all of its row groups."""
        has_nulls = any(part.metadata["hasNulls"] for part in self.parts)
        schema = columnar.schema_of(self.columns, has_nulls=has_nulls)
        if self.request.options.include_metadata:
            schema = schema.with_metadata({METADATA: self._metadata_line()})
        compression = ARROW_COMPRESSION[self.request.options.compression]
        with Writer(self.library, self.collection, self.export.expires_at) as writer:
            columnar.write(self._tables(schema), schema, writer.stream, compression=compression)
            stored = writer.keep({"rows": self.rows})
        return Segment(file=stored.id, size=stored.length)

    def _tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        for part in self.parts:
            table = pq.read_table(io.BytesIO(self._stream(part).read()), use_threads=False)
            yield columnar.conformed(table, schema)


def _inline(data: bytes) -> Segment:
    return Segment(data=data, size=len(data))


def _columns(part: StoredFile) -> dict[str, str]:
    return dict(part.metadata["columns"])


def _moment(moment: datetime, is_anonymous: bool) -> str:
    return f"{moment:%Y-%m-%d}" if is_anonymous else moment.isoformat()
