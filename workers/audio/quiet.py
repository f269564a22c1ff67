"""Silence for C libraries that print to the process's standard error."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_saved_fd = -1


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Point file descriptor 2 at /dev/null for the time of a C call.

    libmpg123 writes its complaints there, past Python and past any logger. Overlapping calls from several
    threads share one redirection: the first makes it, the last undoes it. What other threads print
    meanwhile is lost, so keep the guarded calls short.
    """
    _redirect()
    try:
        yield
    finally:
        _restore()


def _redirect() -> None:
    global _depth, _saved_fd
    with _lock:
        if _depth == 0:
            _saved_fd = os.dup(2)
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), 2)
        _depth += 1


def _restore() -> None:
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            os.dup2(_saved_fd, 2)
            os.close(_saved_fd)
