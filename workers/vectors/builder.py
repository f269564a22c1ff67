"""Building a snapshot: from nothing, or from an earlier one and what has changed since.

Both are one way: rows are only ever added, a removed entry leaves its row empty, and what is found depends on the
living entries alone. When too many rows are empty, the living ones are copied into a fresh snapshot.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workers.vectors import spelling
from workers.vectors.arrays import map_array, write_array
from workers.vectors.columns import ColumnWriter
from workers.vectors.errors import SnapshotOutdated, SnapshotUnsound
from workers.vectors.manifest import Manifest, measured, write_manifest
from workers.vectors.nearest import Mask
from workers.vectors.postings import PostingWriter, named_numbers
from workers.vectors.schema import Entry, Schema
from workers.vectors.snapshot import ALIVE_FILE, ORDER_FILE, SPELLING_FILE, TEXTS_FILE, Snapshot
from workers.vectors.space import SpaceWriter
from workers.vectors.text_store import TextWriter, open_texts

# Ends of the names of files that hold one thing for each row.
_BY_ROW = (
    ".unit.bin",
    ".original.bin",
    ".coarse.bin",
    ".bounds.bin",
    ".living.bin",
    ".counts.bin",
    ".lengths.bin",
    ALIVE_FILE,
)

_BATCH = 1_000  # entries written at a time
_EMPTY_SHARE = 0.25  # of all rows; above it an earlier snapshot is copied entry by entry


class Builder:
    """Fills a folder with a snapshot; use it through `Shelf.building`, which publishes it."""

    def __init__(
        self, folder: Path, schema: Schema, *, base: Snapshot | None, provenance: Mapping[str, str], threads: int
    ) -> None:
        """Begin in an empty folder, with everything that `base` has.

        Raises:
            SnapshotOutdated: if the base has another schema.
        """
        if base is not None and base.manifest.schema != schema:
            raise SnapshotOutdated(f"{base.name} has another schema.")
        self._folder = folder
        self._schema = schema
        self._provenance = provenance
        self._threads = threads
        is_sparse = base is not None and len(base) < base.manifest.rows * (1 - _EMPTY_SHARE)
        kept = None if base is None or is_sparse else base
        self._alive = self._start(kept)
        self._pending: dict[str, Entry] = {}
        self._texts = TextWriter(folder / TEXTS_FILE)
        forms = {} if kept is None else kept.manifest.arrays
        self._columns = ColumnWriter(folder, schema, kept=forms)
        self._words = PostingWriter(folder, schema, kept=forms)
        self._spaces = {
            name: SpaceWriter(
                folder,
                name,
                space,
                kept=0 if kept is None else kept.manifest.rows,
                before=None if kept is None else kept.manifest.spaces[name],
            )
            for name, space in schema.spaces.items()
        }
        if base is not None and is_sparse:
            for one in base.ids():
                self.put(base.entry(one))

    def put(self, entry: Entry) -> None:
        """Add an entry, in place of the one of this id if there is one.

        Raises:
            InvalidEntry: if it does not fit the schema; the others go on.
        """
        entry.check(self._schema)
        self._pending[entry.id] = entry
        if len(self._pending) >= _BATCH:
            self._flush()

    def remove(self, one: str) -> None:
        """Take the entry of this id out, if there is one."""
        self._pending.pop(one, None)
        self._bury([one])

    def finish(self) -> str:
        """Complete the files, check them and return the name that the snapshot is to have.

        Raises:
            SnapshotUnsound: if what was written does not add up.
        """
        self._flush()
        alive = np.asarray(self._alive, np.bool_)
        arrays = self._columns.close(alive)
        spaces = {}
        for name, writer in self._spaces.items():
            spaces[name], forms = writer.close(alive, self._threads)
            arrays |= forms
        arrays |= self._words.close(alive)
        table = spelling.table_of(self._texts.terms(named_numbers(self._folder, arrays).tolist()))
        arrays[SPELLING_FILE] = write_array(self._folder / SPELLING_FILE, table)
        arrays[ORDER_FILE] = write_array(self._folder / ORDER_FILE, np.asarray(self._texts.rows_by_id(), np.int32))
        self._texts.close()
        arrays[ALIVE_FILE] = write_array(self._folder / ALIVE_FILE, alive)
        manifest = Manifest(
            schema=self._schema,
            entries=int(np.count_nonzero(alive)),
            rows=len(alive),
            spaces=spaces,
            arrays=arrays,
            provenance=self._provenance,
            files=measured(self._folder),
        )
        _check_counts(self._folder, manifest)
        return write_manifest(self._folder, manifest)

    def abandon(self) -> None:
        """Close all files as they are."""
        self._texts.abandon()
        self._columns.abandon()
        self._words.abandon()
        for writer in self._spaces.values():
            writer.abandon()

    def _start(self, kept: Snapshot | None) -> bytearray:
        """Copy the files of an earlier snapshot; return which of its rows are alive, a byte each."""
        if kept is None:
            return bytearray()
        for name in kept.manifest.files:
            shutil.copyfile(kept.folder / name, self._folder / name)
        alive: Mask = map_array(kept.folder / ALIVE_FILE, kept.manifest.arrays[ALIVE_FILE])
        return bytearray(alive.tobytes())

    def _flush(self) -> None:
        entries = list(self._pending.values())
        self._pending.clear()
        if not entries:
            return
        self._bury([entry.id for entry in entries])
        self._texts.add(len(self._alive), entries)
        self._columns.add(entries, self._texts)
        self._words.add(entries, self._texts)
        for writer in self._spaces.values():
            writer.add(entries)
        self._alive.extend(b"\1" * len(entries))

    def _bury(self, ids: list[str]) -> None:
        rows = self._texts.rows_of(ids)
        self._texts.remove(rows)
        for row in rows:
            self._alive[row] = 0


def _check_counts(folder: Path, manifest: Manifest) -> None:
    """Raise `SnapshotUnsound` unless all parts speak of the same entries."""
    connection = open_texts(folder / TEXTS_FILE)
    try:
        entries = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    finally:
        connection.close()
    counted = {TEXTS_FILE: entries, ORDER_FILE: manifest.arrays[ORDER_FILE].shape[0]}
    wrong = {name: count for name, count in counted.items() if count != manifest.entries}
    by_row = (name for name in manifest.arrays if name.endswith(_BY_ROW) or name.startswith("number."))
    wrong |= {
        name: manifest.arrays[name].shape[0] for name in by_row if manifest.arrays[name].shape[0] != manifest.rows
    }
    if wrong:
        raise SnapshotUnsound(f"{manifest.entries} entries in {manifest.rows} rows were written, but {wrong} counted.")
