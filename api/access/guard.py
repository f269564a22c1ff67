"""The guard at the only entrance: nobody passes who has not said who they are, but to the few public pages."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.limits import header_fields
from api.access.visit import Visit, receiving
from api.mcp.wire import PATH as MCP_PATH
from api.problems import Unexpected, on_other_error
from api.services import Services
from shared import logs
from shared.access import Principal
from shared.errors import NoCredentials, NotAuthenticated
from shared.keys import PREFIX

PUBLIC = frozenset(("/health/live", "/health/ready", "/api/docs", "/api/openapi.json"))
PUBLIC_FOLDERS = ("/.well-known/",)
"""What holds nothing of anybody's: probes, the description of the routes, and where tokens are to be had."""
RawHeaders = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them, names in lower case: looked through by hand, for every request passes here."""
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
READS_BY_POST = frozenset(("/api/search", "/api/playlists/build"))
"""What takes a body and changes nothing."""
REFUSED = frozenset((401, 403, 429))


class Guard:
    """A pure ASGI middleware: authenticates, counts, and writes down what was done."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its visit, or answer it with a problem."""
        if scope["type"] != "http" or _is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        visit = Visit(
            door="mcp" if scope["path"] == MCP_PATH else "rest",
            address=client[0] if client else None,
            changes=_may_change(scope),
        )
        with receiving(visit):
            await _Passage(self._app, visit, scope, send).go(receive)


class _Passage:
    """One request on its way through."""

    def __init__(self, app: ASGIApp, visit: Visit, scope: Scope, send: Send) -> None:
        self._app, self._visit, self._scope, self._send_on = app, visit, scope, send
        self._services: Services = scope["app"].state.services
        self._status: int | None = None

    async def go(self, receive: Receive) -> None:
        try:
            try:
                await self._admit()
            except Exception as error:  # noqa: BLE001 - the request's boundary, where it is logged and answered
                response = await on_other_error(Request(self._scope), error)
                await response(self._scope, receive, self._send)
            else:
                with logs.about(owner=self._visit.owner):
                    await self._app(self._scope, receive, self._send)
        except Exception:
            self._visit.outcome = Unexpected.code  # which the application answers only behind us
            raise
        finally:
            self._note()

    async def _admit(self) -> None:
        visit, services = self._visit, self._services
        visit.principal = await authenticated(self._scope["headers"], services)
        standing = await services.limiter.take(services.budgets.requests, visit.principal.actor)
        if standing is not None:
            visit.standings.append(standing)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers: list[tuple[bytes, bytes]] = message["headers"]
            headers += header_fields(self._visit.standings)
            if self._visit.changes and self._visit.target is None:
                self._visit.target = _target(self._scope, headers)
        await self._send_on(message)

    def _note(self) -> None:
        """Write down what may have changed something, and who was refused."""
        visit = self._visit
        if visit.action is None:
            visit.action = _route_name(self._scope)
        if visit.changes or self._status in REFUSED:
            self._services.audit.note(visit, status=self._status)


def _may_change(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] not in SAFE and path != MCP_PATH and path not in READS_BY_POST  # a tool says so itself


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(PUBLIC_FOLDERS)


def _route_name(scope: Scope) -> str:
    """Return the name of the route that answered, or what was asked for where none did."""
    route = scope.get("route")
    name = getattr(route, "name", None)
    return str(name) if name else f"{scope['method']} {scope['path']}"[:200]


def _target(scope: Scope, headers: RawHeaders) -> str | None:
    """Return what a request is about: the last part of the new thing's address, or the one in the request's path."""
    for name, value in headers:
        if name == b"location":
            return value.decode("latin-1").rpartition("/")[2]
    return next((str(value) for value in scope.get("path_params", {}).values()), None)


async def authenticated(headers: RawHeaders, services: Services) -> Principal:
    """Return who sends these headers. Raises `NotAuthenticated`, `ServiceUnavailable`."""
    text = _credentials(headers)
    if text.startswith(f"{PREFIX}_") or services.tokens is None:
        return await services.keyring.principal(text)
    return await services.tokens.verify(text)


def _credentials(headers: RawHeaders) -> str:
    """Return the key or token, from either of the headers in which clients send one."""
    sent = [(name, value) for name, value in headers if name in (b"authorization", b"x-api-key")]
    if len(sent) > 1:
        raise NotAuthenticated("More than one key came with the request.")
    if not sent:
        raise NoCredentials("No key came with the request.")
    name, value = sent[0][0], sent[0][1].decode("latin-1")
    scheme, _, text = ("bearer", " ", value) if name == b"x-api-key" else value.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise NotAuthenticated("The Authorization header holds no bearer key.")
    return text
