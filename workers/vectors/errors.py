"""What can go wrong with collections of vectors, one class per remedy."""

from typing import ClassVar


class VectorsError(Exception):
    """A collection can't be built, opened or searched so; `code` says why in one stable word."""

    code: ClassVar[str] = "vectors_error"

    def __init__(self, message: str) -> None:
        """Keep the sentence that says what happened to which thing."""
        super().__init__(message)
        self.message = message


class SnapshotMissing(VectorsError):
    """No snapshot has this name: it was cleaned away; read the pointer again."""

    code = "snapshot_missing"


class SnapshotDamaged(VectorsError):
    """A file of the snapshot is not what was published: go back to the one before, and build anew."""

    code = "snapshot_damaged"


class SnapshotOutdated(VectorsError):
    """The snapshot was made by another version of this code or for another schema: build anew, from nothing."""

    code = "snapshot_outdated"


class SnapshotUnsound(VectorsError):
    """What was just built does not pass its own checks, so it is not published; the one before stays."""

    code = "snapshot_unsound"


class BuildInProgress(VectorsError):
    """Another process is building in this folder: wait until it ends."""

    code = "build_in_progress"


class OpenedElsewhere(VectorsError):
    """The snapshot was opened in another process, before a fork: open it in the one that searches."""

    code = "opened_elsewhere"


class SnapshotClosed(VectorsError):
    """The snapshot was closed while it was still wanted: open it again."""

    code = "snapshot_closed"


class InvalidEntry(VectorsError):
    """The entry does not fit the schema of the collection."""

    code = "invalid_entry"


class InvalidSchema(VectorsError):
    """The schema has a name, a number of dimensions or a weight that can't be."""

    code = "invalid_schema"


class InvalidQuery(VectorsError):
    """The query asks for what the collection does not have, or in numbers that can't be."""

    code = "invalid_query"


class UnknownEntry(VectorsError):
    """No entry of the snapshot has this id, or it has no vector in this space."""

    code = "unknown_entry"


class WrongEmbedder(VectorsError):
    """No embedder has this name, or not with these dimensions or this address: correct the setting."""

    code = "wrong_embedder"


class EmbedderMissing(VectorsError):
    """A package or the files of the model are not installed: the message says what installs them."""

    code = "embedder_missing"


class EmbedderRefused(VectorsError):
    """The endpoint does not take the key, the model or the texts: asking again changes nothing."""

    code = "embedder_refused"


class EmbedderUnsound(VectorsError):
    """The endpoint answers with what can't be the vectors of these texts."""

    code = "embedder_unsound"


class _Later(VectorsError):
    """What is there again after a while."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        """Keep after how long it may be there again."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EmbedderUnavailable(_Later):
    """The endpoint does not answer, or has had enough for now: come back when it says."""

    code = "embedder_unavailable"


class EngineUnavailable(_Later):
    """The server that holds the vectors does not answer now: come back later, nothing was changed half."""

    code = "engine_unavailable"


class EngineRefused(VectorsError):
    """The server that holds the vectors does not take the key or the request: asking again changes nothing."""

    code = "engine_refused"


class EngineMissing(VectorsError):
    """The package that speaks to the server is not installed: the message says what installs it."""

    code = "engine_missing"
