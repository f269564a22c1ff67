"""TensorFlow checkpoints without TensorFlow: the tensors of a bundle of version 2 with a single shard.

The index is a sorted string table as LevelDB writes it (https://github.com/google/leveldb, doc/table_format.md),
here always uncompressed; its values are `BundleEntryProto` messages that say where in the data file a tensor lies.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_INDEX, _DATA = ".index", ".data-00000-of-00001"
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_FLOAT = 1  # DataType.DT_FLOAT

# Wire types of protocol buffers.
_VARINT, _BYTES, _FIXED_32 = 0, 2, 5


class CheckpointUnreadable(Exception):
    """The folder holds no checkpoint of the expected form."""


def read_tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 tensors of the checkpoint in `folder`, by name.

    Raises:
        CheckpointUnreadable: if files are missing, cut or of another form.
    """
    try:
        index, data = (folder / _INDEX).read_bytes(), (folder / _DATA).read_bytes()
        found = {name.decode(): _tensor(data, entry) for name, entry in _entries(index) if name}
    except (OSError, ValueError, IndexError) as error:
        raise CheckpointUnreadable(f"{folder}: {error}") from error
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield all keys and values of a sorted string table."""
    footer = table[-_FOOTER_BYTES:]
    if not footer.endswith(_MAGIC):
        raise ValueError("no table of keys")
    _, position = _handle(footer, 0)  # of the metaindex, which is of no use here
    (start, size), _ = _handle(footer, position)
    for _, handle in _block(table, start, size):
        (start, size), _ = _handle(handle, 0)
        yield from _block(table, start, size)


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if table[start + size]:
        raise ValueError("the index is compressed")
    block = table[start : start + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _tensor(data: bytes, entry: bytes) -> NDArray[np.float32] | None:
    """Return the tensor that an entry describes (1 type, 2 shape, 4 offset, 5 size), None if it holds no float32."""
    numbers, shape = {1: 0, 4: 0, 5: 0}, b""
    for field, value in _fields(entry):
        if isinstance(value, int):
            numbers[field] = value
        elif field == 2:
            shape = value
    kind, offset, size = numbers[1], numbers[4], numbers[5]
    if kind != _FLOAT:
        return None
    dimensions = [_dimension(value) for _, value in _fields(shape) if isinstance(value, bytes)]
    if size != 4 * prod(dimensions) or offset + size > len(data):
        raise ValueError("a tensor is cut")
    return np.frombuffer(data, "<f4", count=size // 4, offset=offset).reshape(dimensions)


def _dimension(message: bytes) -> int:
    """Return the size that a TensorShapeProto.Dim states, its first field."""
    return next((value for field, value in _fields(message) if field == 1 and isinstance(value, int)), 0)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a protocol buffer."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield field, value
        elif wire == _BYTES:
            size, position = _varint(message, position)
            yield field, message[position : position + size]
            position += size
        elif wire == _FIXED_32:
            position += 4  # the checksum
        else:
            raise ValueError("an entry of unknown form")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number of seven bits a byte at a position, and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
