"""The search server as an ASGI application: private, behind the API, which says whose index a search is for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from hmac import compare_digest
from http import HTTPStatus
from itertools import count
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import tracing
from shared.departures import unless_gone
from shared.errors import BacklineError, InvalidRequest, SearchUnavailable, SearchWarming
from shared.search import OpenedIndex, OwnedPlaylist, OwnedSearch, Refusal, SearchState, jsonable
from shared.serving import keep_for_good
from shared.settings import Settings
from shared.store.database import connect
from shared.store.indexes import IndexName, index_id
from workers.indexing.models import text_embedder
from workers.memory import resident_mb
from workers.search.desk import Desk
from workers.search.following import Follower
from workers.search.meaning import QueryEmbedder
from workers.search.numbers import PLAYLIST, SearchNumbers, Standing, mode_of
from workers.search.opened import OpenIndexes
from workers.search.searching import Searcher
from workers.vectors.errors import EmbedderUnavailable

logger = logging.getLogger(__name__)

MONGODB_SECONDS = 4.0  # how long one look at the pointers may take

RETRY_SECONDS = 5.0
"""Between two tries to reach a model that another server has."""

ANSWERS_BETWEEN_CLOSES = 100
"""After so many answers a connection is closed: behind one address of several servers, one that has come back gets its
part of the searches only from connections that are opened anew."""

READY_SECONDS = 0.05
"""Between two looks at whether all is there."""
TELL_SECONDS = 1.0
"""Between two notes of how the server stands."""

Handler = Callable[[Request], Coroutine[Any, Any, BaseModel]]


class SearchServer:
    """The parts of a running search server."""

    def __init__(self, settings: Settings, numbers: SearchNumbers, *, listens_when_ready: bool) -> None:
        """Prepare; `open` begins to load what searches need."""
        self._listens_when_ready = listens_when_ready
        self._settings = settings
        self._numbers = numbers
        self._token = settings.search_token
        self._opened = OpenIndexes(settings.search_open_max)
        self._db = connect(settings, timeout_seconds=MONGODB_SECONDS, app_name="backline-search")
        self._follower = Follower(self._db, settings, self._opened, numbers.swapped)
        self._desk = Desk(
            threads=settings.search_threads,
            waiting_max=settings.search_waiting_max,
            timeout_seconds=settings.search_timeout_seconds,
            note=numbers.at_desk,
        )
        self._embedder: QueryEmbedder | None = None
        self._searcher: Searcher | None = None
        self._answers = count(1)

    @asynccontextmanager
    async def open(self, _: Starlette) -> AsyncIterator[None]:
        """Answer for the length of the block: at first that it warms up, unless nobody is to hear that."""
        self._follower.start()
        tasks = [asyncio.create_task(self._load()), asyncio.create_task(self._tell())]
        try:
            while self._listens_when_ready and self._waits_for() is not None:
                await asyncio.sleep(READY_SECONDS)
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._follower.stop()
            self._desk.close()
            await asyncio.to_thread(self._follower.join)
            self._opened.close()
            self._db.client.close()

    async def _load(self) -> None:
        while self._embedder is None:
            try:
                self._embedder = await asyncio.to_thread(self._load_embedder)
            except EmbedderUnavailable as error:
                logger.warning("The text model's endpoint does not answer, trying again: %s", error.message)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # A supervisor sees an end and starts it anew; a server that warms up for ever it would not see.
                logger.exception("The text model can't be loaded")
                os._exit(1)
        self._searcher = Searcher(self._opened, self._embedder)
        keep_for_good()  # the model and its libraries, too

    def _load_embedder(self) -> QueryEmbedder:
        return QueryEmbedder(text_embedder(self._settings), self._numbers.embedded)

    async def _tell(self) -> None:
        """Note every few seconds how this server stands."""
        while True:
            current, troubles = self._opened.current(), self._opened.troubles()
            behind = {known for known, one in current.items() if not one.is_current} | troubles.keys()
            self._numbers.stand(
                Standing(
                    opened=[(_name_of(known), one) for known, one in current.items()],
                    resting=[_name_of(known) for known in self._opened.resting()],
                    behind=[_name_of(known) for known in behind],
                    followed_at=self._follower.followed_at,
                )
            )
            await asyncio.sleep(TELL_SECONDS)

    def _waits_for(self) -> str | None:
        if self._embedder is None:
            return "the text model"
        return None if self._follower.has_read.is_set() else "the indexes"

    async def search(self, request: Request) -> BaseModel:
        """Answer a search."""
        wanted = _read(OwnedSearch, await request.body())
        index, mode = wanted.search.index, mode_of(wanted.search)
        with _span(f"search {index}", request, backline_mode=mode), self._numbers.searching(index, mode):
            searcher = await self._ready(index_id(wanted.owner, wanted.search.index))
            return await self._desk.work(lambda: searcher.answer(wanted.owner, wanted.search))

    async def playlist(self, request: Request) -> BaseModel:
        """Build a playlist."""
        wanted = _read(OwnedPlaylist, await request.body())
        index = IndexName.TRACKS.value
        with _span("build playlist", request), self._numbers.searching(index, PLAYLIST):
            searcher = await self._ready(index_id(wanted.owner, index))
            return await self._desk.work(lambda: searcher.playlist(wanted.owner, wanted.playlist))

    async def state(self, _: Request) -> BaseModel:
        """Say how this server stands."""
        troubles = self._opened.troubles()
        current = self._opened.current()
        return SearchState(
            is_ready=self._waits_for() is None,
            waits_for=self._waits_for(),
            embedder=self._embedder.id if self._embedder else None,
            resident_mb=round(resident_mb(), 1),
            is_up_to_date=self._follower.is_up_to_date,
            at_work=self._desk.at_work,
            indexes=tuple(
                OpenedIndex(
                    id=known,
                    snapshot=one.snapshot.name,
                    entries=len(one.snapshot),
                    bytes=one.snapshot.size,
                    opened_at=one.opened_at,
                    is_current=one.is_current,
                    trouble=troubles.get(known),
                )
                for known, one in sorted(current.items())
            ),
            resting=len(self._opened.resting()),
            troubles={known: words for known, words in troubles.items() if known not in current},
        )

    async def ready(self, _: Request) -> Response:
        """Say with a status whether this server can search: to everybody, for an orchestrator has no token."""
        return Response(status_code=HTTPStatus.OK if self._waits_for() is None else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _ready(self, wanted: str) -> Searcher:
        """Return what searches, when the index is open that is wanted. Raises `SearchWarming`."""
        waits_for = self._waits_for()
        if self._searcher is None or waits_for is not None:
            raise SearchWarming(f"The search server still waits for {waits_for}.")
        if self._opened.rests(wanted):
            await asyncio.to_thread(self._opened.wake, wanted)  # not at the desk, where others want to be served
        return self._searcher

    def guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return a handler that lets only the API in, and answers with what goes wrong."""

        async def answer(request: Request) -> Response:
            if not self._is_allowed(request):
                return Response(status_code=HTTPStatus.UNAUTHORIZED)
            response = await self._answered(request, handler)
            if next(self._answers) % ANSWERS_BETWEEN_CLOSES == 0:
                response.headers["connection"] = "close"
            return response

        return answer

    async def _answered(self, request: Request, handler: Handler) -> Response:
        try:
            await request.body()
            return _answer(await unless_gone(request.receive, handler(request)))
        except BacklineError as error:
            return _answer(Refusal.of(error), status=400)
        except Exception:
            logger.exception("%s failed", request.url.path)
            return _answer(Refusal.of(SearchUnavailable("The search server has failed; its log says why.")), status=500)

    def _is_allowed(self, request: Request) -> bool:
        if self._token is None:
            return True
        sent = request.headers.get("authorization", "")
        return compare_digest(sent.encode(), f"Bearer {self._token.get_secret_value()}".encode())


def _span(name: str, request: Request, **attributes: str) -> AbstractContextManager[None]:
    """Make the block a span of the trace that the API's request belongs to."""
    return tracing.span(name, within=request.headers.get("traceparent"), **attributes)


def _name_of(known: str) -> str:
    return known.rpartition(".")[2]


def create_app(
    settings: Settings, numbers: SearchNumbers | None = None, *, listens_when_ready: bool = False
) -> Starlette:
    """Return the application; nothing is loaded before it starts.

    Until it can search it says that it warms up; or it `listens_when_ready`, where others on its port answer meanwhile.
    """
    server = SearchServer(settings, numbers or SearchNumbers(), listens_when_ready=listens_when_ready)
    routes = [
        Route("/search", server.guarded(server.search), methods=["POST"]),
        Route("/playlists", server.guarded(server.playlist), methods=["POST"]),
        Route("/state", server.guarded(server.state)),
        Route("/ready", server.ready),
    ]
    return Starlette(routes=routes, lifespan=server.open)


def _read(model: type[Any], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # The API has looked at it already: it must be of another version.
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(f"The search server does not understand the request: {first['msg']}.") from None


def _answer(model: BaseModel, status: int = 200) -> Response:
    return Response(jsonable(model), status_code=status, media_type="application/json")
