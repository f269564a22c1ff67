"""What an orchestrator asks of a container: ``python -m deploy.probe worker``, or the address of a health route.

Ends with 0 where all is well, else with 1 and a line that says what is not.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

from shared.errors import BacklineError
from shared.hosts import host_name
from shared.settings import settings_with_servers
from shared.store import slots
from shared.store.database import StoreError, connect

ANSWER_SECONDS = 4.0
WORKER = "worker"


def trouble(what: str) -> str | None:
    """Return what is wrong with this container's part, or None."""
    return _of_worker() if what == WORKER else _of_route(what)


def _of_route(url: str) -> str | None:
    if not url.startswith(("http://", "https://")):
        return f"{url} is neither {WORKER!r} nor an address"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - the scheme is checked above
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url}: {error}"


def _of_worker() -> str | None:
    """Look for a sign of life, less than some seconds old, of a worker process in this container."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe once; return the exit status."""
    (what,) = sys.argv[1:] if arguments is None else arguments
    found = trouble(what)
    if found is not None:
        sys.stderr.write(f"{found}\n")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
