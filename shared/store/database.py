"""The connection to MongoDB and the indexes that the queries of this package rely on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener

from shared.access import DEFAULT_OWNER
from shared.errors import ServiceUnavailable
from shared.model import Db
from shared.settings import Settings
from shared.store import (
    analyses,
    artifacts,
    audio_features,
    audio_files,
    audit,
    authorizations,
    catalogue,
    chunks,
    clusters,
    connections,
    contents,
    disagreements,
    embeddings,
    exports,
    imports,
    indexes,
    jobs,
    keys,
    listening_history,
    outcomes,
    paces,
    playlist_reads,
    provider_answers,
    provider_endpoints,
    questions,
    ratings,
    recommendations,
    repairs,
    reports,
    schedules,
    slots,
    sources,
    usage,
)

logger = logging.getLogger(__name__)

UNBUILDABLE = frozenset((85, 86, 11000))
"""Codes of what keeps an index of a library from being built: another of its name, or documents of the same key."""

StoreError = PyMongoError
"""What any query may raise; at a task's or a request's boundary it means: try again later."""


def connect(
    settings: Settings,
    *,
    timeout_seconds: float | None = None,
    app_name: str = "backline",
    listeners: Sequence[CommandListener] = (),
) -> Db:
    """Return the database; nothing is sent before the first query.

    Every operation ends within `timeout_seconds` (the settings' figure by default), also when the server
    hangs. Open it after a fork, never before.
    """
    if settings.mongodb_uri is None:
        raise ServiceUnavailable("No MongoDB is configured: set MONGODB_URI, or start the stack with `backline up`.")
    seconds = timeout_seconds or settings.mongodb_timeout_seconds
    client: MongoClient[dict[str, Any]] = MongoClient(
        settings.mongodb_uri,
        tz_aware=True,
        appname=app_name,
        serverSelectionTimeoutMS=int(seconds * 1000),
        connectTimeoutMS=int(min(seconds, 5.0) * 1000),
        socketTimeoutMS=int(seconds * 1000),
        retryWrites=True,
        # Not a stream: that takes a thread and a connection more, and all of them wake up several times a second.
        serverMonitoringMode="poll",
        event_listeners=list(listeners),
    )
    options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    return client.get_database(settings.mongodb_database, codec_options=options)


def library(db: Db, owner: str) -> Db:
    """Return the database that holds what is an owner's own: features, users, and whatever else their jobs yield.

    The default owner's is `db` itself, where the clients of an installation for one look for it; another owner's
    stands beside it as ``<name>_<owner>``, so that no query, check or export can reach from one into the other.
    """
    return db if owner == DEFAULT_OWNER else db.client.get_database(f"{db.name}_{owner}", db.codec_options)


def ensure_indexes(db: Db) -> None:
    """Create every index that is missing; harmless when they exist, also from several processes at once."""
    engine = (jobs, chunks, outcomes, schedules, slots, paces)
    knowledge = (contents, audio_files, embeddings, indexes, provider_answers, provider_endpoints)
    access = (keys, audit, usage, authorizations, connections)
    for collection in (*engine, questions, *knowledge, *access):
        collection.ensure_indexes(db)
    ensure_library_indexes(db)


def ensure_library_indexes(db: Db) -> None:
    """Create the indexes of a library that are missing."""
    features = (audio_features, catalogue, disagreements, imports)
    taste = (listening_history, ratings, recommendations, clusters)
    outgoing = (artifacts, exports, sources, analyses, playlist_reads)
    for collection in (*features, *taste, *outgoing, reports, repairs):
        try:
            collection.ensure_indexes(db)
        except OperationFailure as error:
            if error.code not in UNBUILDABLE:
                raise
            name = collection.COLLECTION
            logger.warning("an index of %s can't be built (code %s): a validation says why", name, error.code)
