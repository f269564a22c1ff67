"""How long the server may take over a question that goes through a whole collection."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pymongo

LOOK_SECONDS = 3600.0
"""For all that one item asks. A group over, or an index of, some hundred million documents takes minutes; each other
operation of a worker has to end within seconds, so that a server that hangs is noticed."""


def patiently() -> AbstractContextManager[object]:
    """Give every operation inside the block so much time, in place of the connection's; the server is told, too."""
    return pymongo.timeout(LOOK_SECONDS)
