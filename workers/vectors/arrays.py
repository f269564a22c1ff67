"""Arrays as plain files, written in blocks and mapped into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SCATTERED = 2
"""Collecting scattered rows costs about so many times what reading them in order does."""

_COLLECTED_BYTES = 524_288  # of scattered rows at a time: they stay in the cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How to read an array's file."""

    # numpy's name of the type, with its byte order
    dtype: str
    shape: tuple[int, ...]


class ArrayWriter:
    """Writes rows one block after another; what was written before a start may be kept."""

    def __init__(self, path: Path, dtype: DTypeLike, row: tuple[int, ...] = (), *, kept: int = 0) -> None:
        """Open the file, of which the first `kept` rows of shape `row` stay."""
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._row = row
        self.rows = kept
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(kept * self._dtype.itemsize * int(np.prod(row, dtype=np.int64)))

    def append(self, block: NDArray[Any]) -> None:
        """Write rows, shape (rows, *row)."""
        self._file.write(np.ascontiguousarray(block, self._dtype).tobytes())
        self.rows += len(block)

    def close(self) -> Form:
        """Close the file and return how to read it."""
        self._file.close()
        return Form(dtype=self._dtype.str, shape=(self.rows, *self._row))


def write_array(path: Path, values: NDArray[Any]) -> Form:
    """Write a whole array, in place of what the file may hold, and return how to read it."""
    writer = ArrayWriter(path, values.dtype, values.shape[1:])
    writer.append(values)
    return writer.close()


def map_array(path: Path, form: Form) -> NDArray[Any]:
    """Return the array in a file, read-only: the pages that are touched are shared with all who map it."""
    if 0 in form.shape:
        return np.empty(form.shape, form.dtype)  # nothing can't be mapped
    return np.asarray(np.memmap(path, dtype=form.dtype, mode="r", shape=form.shape))


def collected(values: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield scattered rows of an array in blocks, each with its place among `rows`, and gone when the next one comes.

    Into the same memory each time, and without a look at each row first: in half the time of an index.
    """
    size = max(1, _COLLECTED_BYTES // max(values[:1].nbytes, 1))
    block = np.empty((min(size, len(rows)), *values.shape[1:]), values.dtype)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        place = slice(start, start + len(chosen))
        yield place, np.take(values, chosen, axis=0, out=block[: len(chosen)], mode="clip")
