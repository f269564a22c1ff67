"""The registry of checks: one line per check, in the order in which documents are cured."""

from __future__ import annotations

from collections.abc import Sequence

from workers.database.checks import bytes as raw
from workers.database.checks import collections, documents, indexes, performance, relations, security
from workers.database.checks.bytes import BytesCheck
from workers.database.checks.check import Check, CollectionCheck, DocumentCheck, RelationCheck, ServerCheck

DOCUMENTS: Sequence[DocumentCheck] = (
    documents.UnknownField(),
    documents.MissingRequired(),
    documents.WrongType(),
    documents.OutOfRange(),
    documents.FutureDate(),
    documents.ContradictingDates(),
    documents.OutdatedFeatures(),
)
BYTES: Sequence[BytesCheck] = (
    raw.SecretInDocument(),
    raw.LargeDocument(),
)
RELATIONS: Sequence[RelationCheck] = (
    relations.OwnSchema(),
    relations.OrphanOfUser(),
    relations.StaleSummary(),
    relations.DanglingTrack(),
    relations.WrongTotals(),
    relations.OrphanChunk(),
    relations.OrphanOutcome(),
    relations.ChunkWithoutFile(),
)
COLLECTIONS: Sequence[CollectionCheck] = (
    collections.MissingCollection(),
    collections.Duplicates(),
    collections.IncompleteFile(),
    collections.Drift(),
    collections.ServersValidate(),
    indexes.MissingIndex(),
    indexes.UnbuiltUnique(),
    indexes.RedundantIndex(),
    indexes.UnusedIndex(),
    performance.Figures(),
)
SERVER: Sequence[ServerCheck] = (
    performance.SlowOperations(),
    security.NoAuthentication(),
    security.OpenOnLoopback(),
    security.WideRoles(),
    security.NoTls(),
    security.DefaultDatabase(),
    security.BoundToAll(),
)
ALL: Sequence[Check] = (*DOCUMENTS, *BYTES, *RELATIONS, *COLLECTIONS, *SERVER)
