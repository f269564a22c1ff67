"""The form of a migration: what is different about documents from a version on, and how old ones are made so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.model import Db


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One step from a schema to the next.

    It is applied to the main database, which is the library of the owner `local`, and to the library of every other
    owner. `apply` may be interrupted at any moment and is called again then: it must only change what it counts in
    `pending`. Versions of Backline from before and after it may run side by side while it is applied.
    """

    number: int  # 1, 2, 3 ... without a gap
    title: str
    pending: Callable[[Db], int]
    """Return how many documents of a database are to be changed."""
    apply: Callable[[Db], int]
    """Change them, and return how many were changed."""
