"""Vectors as BSON keeps them (binary subtype 9), for those who hold them as bytes and know no numerics."""

from __future__ import annotations

from bson.binary import VECTOR_SUBTYPE, Binary, BinaryVectorDtype

_HEADER = bytes((BinaryVectorDtype.FLOAT32.value[0], 0))
"""What stands before the numbers: their type, and how many bits of the last byte are padding."""


def from_floats(floats: bytes) -> Binary:
    """Return the BSON vector of little-endian 32-bit floats."""
    return Binary(_HEADER + floats, subtype=VECTOR_SUBTYPE)


def to_floats(vector: Binary) -> bytes:
    """Return the little-endian 32-bit floats of a BSON vector."""
    return bytes(vector)[len(_HEADER) :]
