"""Asking a Qdrant server, and what its failures mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from json import JSONDecodeError

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from workers.vectors.errors import EngineRefused, EngineUnavailable, SnapshotMissing

_PAUSE_SECONDS = 5.0  # where the server does not say when to come back
_QUOTED_MAX = 200  # characters of an answer in a message
_BUSY = (408, 429)
_STRANGE = "this is no answer of a Qdrant server."


@lru_cache(maxsize=8)
def client_of(url: str, key: str | None, timeout_seconds: int, process: int) -> QdrantClient:
    """Return the client of a server, one a process, whose number keeps it from the children of a fork.

    It has not asked anything yet; every answer must come within the time.
    """
    return QdrantClient(url=url, api_key=key, timeout=timeout_seconds, check_compatibility=False)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the client's exceptions into what they mean for what was asked.

    Raises:
        EngineUnavailable: if the server does not answer now.
        EngineRefused: if it does not take the key or the request, or is no Qdrant server.
        SnapshotMissing: if the collection is not there, any more.
    """
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise EngineUnavailable(f"{what}: {error}", retry_after_seconds=float(error.retry_after_s)) from None
    except QdrantException as error:
        raise EngineUnavailable(f"{what}: {error}", retry_after_seconds=_PAUSE_SECONDS) from None
    except UnexpectedResponse as error:
        raise _meant(what, error) from None
    except ResponseHandlingException as error:
        reason = f"{what}: {type(error.source).__name__} {error.source}".rstrip()[: _QUOTED_MAX + len(what)]
        if isinstance(error.source, httpx.HTTPError):
            raise EngineUnavailable(reason, retry_after_seconds=_PAUSE_SECONDS) from None
        raise EngineRefused(f"{reason}: {_STRANGE}") from None
    except (JSONDecodeError, UnicodeDecodeError) as error:  # which the client lets through
        raise EngineRefused(f"{what}: {error}: {_STRANGE}") from None


def _meant(what: str, error: UnexpectedResponse) -> EngineUnavailable | EngineRefused | SnapshotMissing:
    status = error.status_code or 0
    reason = f"{what}: the server answered {status} {error.content[:_QUOTED_MAX].decode(errors='replace')}".rstrip()
    if status == 404:
        return SnapshotMissing(reason)
    if status in _BUSY or status >= 500:
        return EngineUnavailable(reason, retry_after_seconds=_PAUSE_SECONDS)
    return EngineRefused(reason)
