"""The REST API as methods; whatever goes wrong becomes one of the command's errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from api.cli.errors import NotReachable, Refused, WrongInput
from shared.clock import new_id

Json = dict[str, Any]
ANSWER_SECONDS = 20.0  # a healthy API answers within milliseconds; a loaded one within seconds
CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 30.0  # how long an API that did answer may be away: a restart takes some seconds
RETRY_SECONDS = 0.25
RETRY_SECONDS_MAX = 2.0
AWAY = frozenset((502, 503, 504))  # what an API answers, or a proxy in front of it, while something restarts
PAGE = 500  # items or jobs asked for at a time
KEY_ADVICE = "Set BACKLINE_API_KEY to a key, or name the data folder of the stack with --data: its key lies there."
LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))


class RestartNeeded(Exception):
    """The rest of a download that broke off can't be had: the file is another one."""


def is_local(url: str) -> bool:
    """Whether the address is this machine's own, so that both sides see the same files."""
    return urlsplit(url).hostname in LOOPBACK


class Client:
    """A connection to one Backline. Every method may raise `NotReachable` and `Refused`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Name the address and the key; nothing is asked yet. Raises `WrongInput` for what is no address."""
        self.url = url.rstrip("/")
        self._patience_seconds = 0.0
        try:
            parts = urlsplit(self.url)
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or (parts.port is not None and not parts.port)
            ):
                raise ValueError(self.url)
            # A proxy of the environment must not stand between us and this very machine.
            self._http = httpx.Client(
                base_url=self.url,
                headers={} if key is None else {"Authorization": f"Bearer {key}"},
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                trust_env=not is_local(self.url),
            )
        except (ValueError, httpx.InvalidURL):
            raise WrongInput(f"{url!r} is no address.", hint="One is http://127.0.0.1:8765.") from None

    def __enter__(self) -> Self:
        """Return the client itself; leaving closes its connections."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, kind: str, request: Json, *, key: str | None = None) -> Json:
        """Submit a job and return it; a lost answer is asked for again under the same idempotency key."""
        headers = {"Idempotency-Key": key or new_id("cli")}
        return self._json("POST", f"/api/jobs/{quote(kind, safe='')}", body=request, headers=headers)

    def job(self, job_id: str) -> Json:
        """Return a job."""
        return self._json("GET", _job(job_id))

    def jobs(self, *, limit: int, filters: Mapping[str, Any]) -> Iterator[Json]:
        """Yield up to `limit` jobs, newest first."""
        return self._paged("/api/jobs", "jobs", limit, filters)

    def items(self, job_id: str, *, statuses: Sequence[str] = (), after: str | None = None) -> Json:
        """Return one page of a job's items."""
        query = {"status": list(statuses), "after": after, "limit": PAGE}
        return self._json("GET", f"{_job(job_id)}/items", query=query)

    def cancel(self, job_id: str) -> Json:
        """Ask for a job to be stopped, and return it."""
        return self._json("POST", f"{_job(job_id)}/cancel")

    def retry(self, job_id: str) -> Json:
        """Queue what failed in a job again, and return it."""
        return self._json("POST", f"{_job(job_id)}/retry")

    def report(self, job_id: str, report_format: str) -> str:
        """Return the report of a validation as text."""
        path = f"/api/database/reports/{quote(job_id, safe='')}"
        return self._send("GET", path, query={"format": report_format}).text

    def schedules(self) -> Json:
        """Return every schedule."""
        return self._json("GET", "/api/schedules")

    def add_schedule(self, schedule: Json) -> Json:
        """Store a schedule, and return it."""
        return self._json("POST", "/api/schedules", body=schedule)

    def change_schedule(self, name: str, changes: Json) -> Json:
        """Change a schedule, and return it."""
        return self._json("PATCH", f"/api/schedules/{quote(name, safe='')}", body=changes)

    def remove_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._send("DELETE", f"/api/schedules/{quote(name, safe='')}")

    def search(self, wanted: Json) -> Json:
        """Return a page of hits."""
        return self._json("POST", "/api/search", body=wanted)

    def similar_items(self, item_id: str, *, limit: int) -> Json:
        """Return what is like an item of the catalogue."""
        return self._json("GET", f"/api/items/{quote(item_id, safe='')}/similar", query={"limit": limit})

    def similar_tracks(self, track_id: str, *, user: str | None, limit: int) -> Json:
        """Return what sounds like a track."""
        path = f"/api/tracks/{quote(track_id, safe='')}/similar"
        return self._json("GET", path, query={"userId": user, "limit": limit})

    def build_playlist(self, wanted: Json) -> Json:
        """Return a playlist, and what could not be as it was wished."""
        return self._json("POST", "/api/playlists/build", body=wanted)

    def clusters(self, *, index: str, item: str | None) -> Json:
        """Return the groups of an index, and that of an entry."""
        return self._json("GET", "/api/clusters", query={"index": index, "item": item})

    def indexes(self) -> Json:
        """Return every index."""
        return self._json("GET", "/api/indexes")

    def roll_back_index(self, name: str) -> Json:
        """Go back to the state of an index before the current one, and return it."""
        return self._json("POST", f"/api/indexes/{quote(name, safe='')}/rollback")

    def recommendations(self, user: str, *, index: str, limit: int) -> Json:
        """Return what a user may like, as it was worked out last."""
        return self._json("GET", "/api/recommendations", query={"userId": user, "index": index, "limit": limit})

    def status(self) -> Json:
        """Return the state of every part."""
        return self._json("GET", "/api/status")

    def begin_spotify_authorization(self, user: str, redirect_uri: str) -> Json:
        """Return where a user's browser goes to connect their account."""
        body = {"userId": user, "redirectUri": redirect_uri}
        return self._json("POST", "/api/spotify/authorizations", body=body)

    def end_spotify_authorization(self, state: str, brought: Json) -> Json:
        """Connect a user's account with what their browser brought back, and return the connection."""
        answer = self._json("POST", f"/api/spotify/authorizations/{quote(state, safe='')}", body=brought)
        return dict(answer["connection"])

    def forget_spotify_connection(self, user: str) -> bool:
        """Forget a user's account; return whether there was one."""
        return bool(self._json("DELETE", f"/api/spotify/connections/{quote(user, safe='')}")["forgotten"])

    def providers(self) -> Json:
        """Return who is asked for features, and how they are."""
        return self._json("GET", "/api/providers")

    def kinds(self) -> Json:
        """Return the kinds of job that there are."""
        return self._json("GET", "/api/kinds")

    def create_key(self, wanted: Json) -> Json:
        """Make a key, and return it; nobody sees it again."""
        return self._json("POST", "/api/keys", body=wanted)

    def keys(self, owner: str | None) -> Json:
        """Return the keys, without what makes them keys."""
        return self._json("GET", "/api/keys", query={"owner": owner})

    def revoke_key(self, key_id: str) -> Json:
        """Let a key open nothing any more, and return it."""
        return self._json("DELETE", f"/api/keys/{quote(key_id, safe='')}")

    def audit(self, *, limit: int, filters: Mapping[str, Any]) -> Iterator[Json]:
        """Yield up to `limit` entries of the audit log, newest first."""
        return self._paged("/api/audit", "entries", limit, filters)

    def _paged(self, path: str, field: str, limit: int, filters: Mapping[str, Any]) -> Iterator[Json]:
        """Yield up to `limit` of the things that a list has under `field`, page by page."""
        after: str | None = None
        while limit > 0:
            page = self._json("GET", path, query={**filters, "limit": min(limit, PAGE), "after": after})
            yield from page[field][:limit]
            limit -= len(page[field])
            after = page.get("nextCursor")
            if after is None:
                return

    def download(self, path: str, start: int, etag: str | None) -> Iterator[bytes]:
        """Yield a file's bytes from `start` on; from the beginning again where it is another one meanwhile.

        Raises `RestartNeeded` in the latter case.
        """
        headers = {"Range": f"bytes={start}-", "If-Range": etag} if start and etag else {}
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response, self.url)
                if headers and response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise RestartNeeded
                yield from response.iter_raw()
        except httpx.RequestError as error:
            raise self._unreachable(error) from None

    @contextmanager
    def events(self, job_id: str, *, last_id: str | None, silence_seconds: float) -> Iterator[Iterator[str]]:
        """Open a job's stream of events, as lines; it ends with `NotReachable` after a silence."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        timeout = httpx.Timeout(CONNECT_SECONDS, read=silence_seconds)
        try:
            with self._http.stream("GET", f"{_job(job_id)}/events", headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response, self.url)
                yield response.iter_lines()
        except httpx.RequestError as error:
            raise self._unreachable(error) from None

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        answer = self._send(method, path, query=query, body=body, headers=headers)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise NotReachable(f"What answers at {self.url} is no Backline.", hint="Check the address.")
        return value

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask until there is an answer; one that was here before is waited for a while."""
        wanted = {name: value for name, value in (query or {}).items() if value not in (None, [])}
        give_up = time.monotonic() + self._patience_seconds
        pause = RETRY_SECONDS
        while True:
            is_last = time.monotonic() >= give_up
            try:
                answer = self._http.request(method, path, params=wanted, json=body, headers=headers)
            except httpx.RequestError as error:
                if is_last:
                    raise self._unreachable(error) from None
            else:
                if is_last or answer.status_code not in AWAY:
                    break
            time.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS_MAX)
        self._patience_seconds = PATIENCE_SECONDS
        if answer.is_error:
            raise _refusal(answer, self.url)
        return answer

    def _unreachable(self, error: httpx.RequestError) -> NotReachable:
        reason = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or "connection lost"
        return NotReachable(f"No Backline answers at {self.url}: {reason}.")


def _job(job_id: str) -> str:
    return f"/api/jobs/{quote(job_id, safe='')}"


def _refusal(answer: httpx.Response, url: str) -> Refused | NotReachable:
    """Return the error that a problem document tells of."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        return NotReachable(
            f"What answers at {url} is no Backline (HTTP {answer.status_code}).", hint="Check the address."
        )
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        problem["advice"] = KEY_ADVICE
    detail = str(problem.get("detail") or problem.get("title") or "The request was refused.")
    fields = [f"{one['field']}: {one['message']}." for one in problem.get("errors") or ()]
    return Refused(
        " ".join([detail, *(text for text in fields if text.rstrip(".") not in detail)]),
        hint=str(problem.get("advice") or ""),
        status=answer.status_code,
        problem_code=str(problem["code"]),
    )
