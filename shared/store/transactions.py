"""Several writes as one, where the server can."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, OperationFailure

from shared.model import Db

Result = TypeVar("Result")

NO_TRANSACTIONS = frozenset((20, 263, 303))
"""Codes by which servers say that they have none: IllegalOperation, OperationNotSupportedInTransaction and the like."""


def as_one(db: Db, work: Callable[[ClientSession | None], Result]) -> Result:
    """Do some work in a transaction, or without a session on a server that has none; it may be begun several times."""
    try:
        with db.client.start_session() as session:
            return session.with_transaction(work)
    except OperationFailure as error:
        if isinstance(error, BulkWriteError) or error.code not in NO_TRANSACTIONS:
            raise
    return work(None)
