"""Whether a worker process of this container has given a sign of life lately."""

from __future__ import annotations

import sys

from shared.errors import BacklineError
from shared.hosts import host_name
from shared.settings import settings_with_servers
from shared.store import slots
from shared.store.database import StoreError, connect

ANSWER_SECONDS = 4.0


def trouble() -> str | None:
    """Return why a worker in this container is to be started anew, or None."""
    try:
        db = connect(settings_with_servers(), timeout_seconds=ANSWER_SECONDS, app_name="backline-probe")
        with db.client:
            here = [slot for slot in slots.find_alive(db) if slot.id.rsplit(":", 2)[0] == host_name()]
    except BacklineError as error:
        return error.message
    except StoreError as error:
        # A worker that can't reach MongoDB is well and waits for it: a restart would mend nothing.
        sys.stderr.write(f"MongoDB does not answer ({type(error).__name__})\n")
        return None
    return None if here else f"no worker process of {host_name()} has given a sign of life"
