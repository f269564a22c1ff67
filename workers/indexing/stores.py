"""Where an owner's index is: in files on this machine, or on the server that the settings name."""

from __future__ import annotations

from shared.settings import Settings
from shared.store import indexes
from workers.vectors.engine import Store, store_of


def store_in(settings: Settings, owner: str, name: str) -> Store:
    """Return the store of an owner's index, in the process that uses it.

    Raises:
        EngineMissing: if the package that speaks to that server is not installed.
    """
    key = settings.vector_key
    return store_of(
        indexes.folder(settings.index_dir, owner, name),
        indexes.index_id(owner, name),
        url=settings.vector_url,
        key=None if key is None else key.get_secret_value(),
    )
