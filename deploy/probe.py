"""What an orchestrator asks of a container: ``python -m deploy.probe worker``, or the address of a health route.

Ends with 0 where all is well, else with 1 and a line that says what is not.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib import import_module

ANSWER_SECONDS = 4.0
WORKER = "worker"
SIGN_OF_LIFE = "deploy.sign_of_life"
"""What looks for one. It brings MongoDB's driver, and so half a second of a processor, which a route need not wait for:
on a busy host that is longer than a check may take."""


def trouble(what: str) -> str | None:
    """Return what is wrong with this container's part, or None."""
    if what != WORKER:
        return _of_route(what)
    found: str | None = import_module(SIGN_OF_LIFE).trouble()
    return found


def _of_route(url: str) -> str | None:
    if not url.startswith(("http://", "https://")):
        return f"{url} is neither {WORKER!r} nor an address"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - the scheme is checked above
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url}: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe once; return the exit status."""
    (what,) = sys.argv[1:] if arguments is None else arguments
    found = trouble(what)
    if found is not None:
        sys.stderr.write(f"{found}\n")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
