"""The API's connection to the search server, which alone has the indexes and the model."""

from __future__ import annotations

from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api.metrics.counted import Counted
from api.turns import Turns
from shared.errors import SearchOverloaded, SearchTimedOut, SearchUnavailable
from shared.search import Refusal, SearchState, jsonable
from shared.settings import Settings

CONNECT_SECONDS = 1.0
STATE_SECONDS = 1.0
SPARE_SECONDS = 1.0
"""More than the search server itself gives a search, so that it is the one who says what took too long."""
IDLE_SECONDS = 30.0
"""How long a connection is kept; the search server keeps it longer."""
ASKED_PER_THREAD = 8
"""How many searches are asked for at a time, for each thread of one search server: enough for several servers."""

Answer = TypeVar("Answer", bound=BaseModel)


class SearchClient:
    """Asks the search server; every method may raise `SearchUnavailable` and `SearchTimedOut`."""

    def __init__(self, settings: Settings, counted: Counted) -> None:
        """Name the server; nothing is asked yet."""
        self._counted = counted
        self._turns = Turns(
            at_once=ASKED_PER_THREAD * settings.search_threads,
            waiting_max=settings.search_waiting_max,
            waiting_seconds=settings.search_timeout_seconds,
            note=counted.searching,
        )
        token = settings.search_token
        self._http = httpx.AsyncClient(
            base_url=settings.search_url or "",
            headers={} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"},
            timeout=httpx.Timeout(settings.search_timeout_seconds + SPARE_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS),
            # A proxy of the environment must not stand between two parts of ours.
            trust_env=False,
        )
        self.is_configured = settings.search_url is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, path: str, body: BaseModel, *, holder: str) -> bytes:
        """Return the answer as the JSON that it came as, once it is the holder's turn; raises what the server raised.

        Raises:
            SearchOverloaded: if too many wait for theirs.
        """
        try:
            async with self._turns.turn(holder):
                return await self._send("POST", path, content=jsonable(body))
        except SearchOverloaded:
            self._counted.overloaded()
            raise

    async def state(self) -> SearchState:
        """Return how the search server stands."""
        content = await self._send("GET", "/state", timeout=STATE_SECONDS)
        return understood(SearchState, content)

    async def _send(
        self, method: str, path: str, *, content: bytes | None = None, timeout: float | None = None
    ) -> bytes:
        if not self.is_configured:
            raise SearchUnavailable("No search server is configured.")
        request = self._http.build_request(
            method,
            path,
            content=content,
            headers={"Content-Type": "application/json"},
            timeout=self._http.timeout if timeout is None else httpx.Timeout(timeout),
        )
        try:
            answer = await self._sent(request)
        except httpx.TimeoutException as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise SearchUnavailable("The search server does not answer.") from None
            raise SearchTimedOut("The search server did not answer in time.") from None
        except httpx.TransportError:
            raise SearchUnavailable("The search server does not answer.") from None
        if answer.status_code == httpx.codes.OK:
            return answer.content
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise SearchUnavailable("The search server does not know this API: BACKLINE_SEARCH_TOKEN differs.")
        raise understood(Refusal, answer.content).error()

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send; once more over a fresh connection where one that was kept has broken, for a search changes nothing."""
        try:
            return await self._http.send(request)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            return await self._http.send(request)


def understood(model: type[Answer], content: bytes) -> Answer:
    """Return an answer as a model. Raises `SearchUnavailable` if it is none."""
    try:
        return model.model_validate_json(content)
    except ValidationError:
        raise SearchUnavailable("What answers in place of the search server is none, or of another version.") from None
