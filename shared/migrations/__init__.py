"""The registry of migrations: one line per migration, in order."""

from __future__ import annotations

from shared.migrations import m0001_first_schema
from shared.migrations.migration import Migration

MIGRATIONS: tuple[Migration, ...] = (m0001_first_schema.MIGRATION,)
LATEST = MIGRATIONS[-1].number
"""The schema that this version of Backline writes."""
