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
