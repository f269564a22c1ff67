"""Downloading a release, unless it is the one that is there already."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx

from workers.catalogue.errors import TooLargeError, UnavailableError

SILENCE_SECONDS = 30.0  # between two pieces of a download
REDIRECTS_MAX = 5
USER_AGENT = "backline"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that was downloaded, and what its server said of it."""

    digest: str  # SHA-256, in hexadecimal
    size: int  # bytes
    etag: str | None
    last_modified: str | None


def fetch(
    url: str, target: Path, *, etag: str | None, last_modified: str | None, bytes_max: int, seconds: float
) -> Fetched | None:
    """Download `url` to `target`; None, and no file, where the server says that it is still the one of `etag`.

    Raises:
        UnavailableError: it can't be had now, or not within `seconds`.
        TooLargeError: it has more than `bytes_max`.
    """
    conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    headers = {"User-Agent": USER_AGENT, **{name: value for name, value in conditions.items() if value}}
    timeout = httpx.Timeout(SILENCE_SECONDS)
    deadline = time.monotonic() + seconds
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=REDIRECTS_MAX) as client,
            # As it is: what is packed on the way would be unpacked here without a limit.
            client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code == httpx.codes.NOT_MODIFIED and len(headers) > 1:
                return None
            if response.status_code != httpx.codes.OK:
                raise UnavailableError(f"{url} answered {response.status_code}.")
            return _save(response, target, bytes_max=bytes_max, deadline=deadline)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"{url} can't be downloaded: {type(error).__name__} {error}".strip() + ".") from error


def _save(response: httpx.Response, target: Path, *, bytes_max: int, deadline: float) -> Fetched:
    digest, size = sha256(), 0
    with target.open("wb") as file:
        for piece in response.iter_raw():
            size += len(piece)
            if size > bytes_max:
                raise TooLargeError(f"The release has more than {bytes_max:,} bytes.")
            if time.monotonic() > deadline:
                raise UnavailableError("The download took too long: BACKLINE_CATALOGUE_DOWNLOAD_SECONDS.")
            digest.update(piece)
            file.write(piece)
    headers = response.headers
    declared = headers.get("Content-Length")
    if declared is not None and declared.isdecimal() and int(declared) != size:
        raise UnavailableError(f"The download ended after {size:,} of {int(declared):,} bytes.")
    return Fetched(
        digest=digest.hexdigest(),
        size=size,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
    )
