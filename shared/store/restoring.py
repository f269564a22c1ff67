"""The `restoring` collection: how far a restore has come. While there is one, nothing else may use the database."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import RestoreUnfinished
from shared.model import Db, Json

COLLECTION = "restoring"
BACKUP = "backup"
"""The id of the one document that says which backup it is; the others are the parts that are done."""


def backup_of(db: Db) -> str | None:
    """Return the id of the backup that is being restored, or None."""
    found = db[COLLECTION].find_one({"_id": BACKUP})
    return None if found is None else str(found["backup"])


def refuse_unfinished(db: Db) -> None:
    """Raise `RestoreUnfinished` for a database that is being restored, or was when it was broken off."""
    if backup_of(db) is not None:
        raise RestoreUnfinished(f"The database {db.name} is being restored.")


def begin(db: Db, backup: str) -> None:
    """Note that a backup is being restored from here on."""
    db[COLLECTION].insert_one({"_id": BACKUP, "backup": backup})


def done(db: Db) -> set[str]:
    """Return the names of what is done."""
    return {str(one["_id"]) for one in db[COLLECTION].find() if one["_id"] != BACKUP}


def note(db: Db, names: Iterable[str]) -> None:
    """Note that these are done."""
    for name in names:
        entry: Json = {"_id": name}
        db[COLLECTION].replace_one(entry, entry, upsert=True)


def end(db: Db) -> None:
    """Let everybody use the database."""
    db.drop_collection(COLLECTION)
