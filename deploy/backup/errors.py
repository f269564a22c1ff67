"""What can go wrong while a backup is taken, looked at or restored."""

from __future__ import annotations

from typing import ClassVar

from shared.errors import BacklineError


class BackupError(BacklineError):
    """A backup could not be taken or restored."""

    code: ClassVar[str] = "backup_failed"
    advice: ClassVar[str] = "Call it again: it goes on where it stopped."


class BackupExists(BackupError):
    """What is named holds something already."""

    code = "backup_exists"
    advice = "Choose another name; a finished backup is never changed."


class BackupInUse(BackupError):
    """Another process is taking this very backup."""

    code = "backup_in_use"
    advice = "Wait until it is done, or choose another name."


class BackupDamaged(BackupError):
    """The backup is not whole: a file of it is missing, cut off or changed."""

    code = "backup_damaged"
    advice = "Use another copy. One that was broken off goes on when `backline backup` is called again."


class NothingToKeep(BackupError):
    """There is no database where one was looked for."""

    code = "nothing_to_keep"
    advice = "Name the stack's data folder with --data, or set MONGODB_URI."


class TargetNotEmpty(BackupError):
    """The database that should be restored holds documents."""

    code = "target_not_empty"
    advice = "Restore --into another name; or say --force, which deletes what is there."


class TargetInUse(BackupError):
    """Workers or front doors run on the database that should be restored."""

    code = "target_in_use"
    advice = "Stop them first, or restore --into another name."


class RestoreWrong(BackupError):
    """What was restored is not what the backup holds."""

    code = "restore_wrong"
    advice = "Look at the server's log and disk, then call it again with --force."
