"""Arrays as plain files, written in blocks and mapped into memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


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
