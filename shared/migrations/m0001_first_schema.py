"""Migration 1: the schema with which the count begins. Nothing is changed."""

from __future__ import annotations

from shared.migrations.migration import Migration
from shared.model import Db


def _nothing(db: Db) -> int:
    return 0


MIGRATION = Migration(number=1, title="The first schema", pending=_nothing, apply=_nothing)
