"""The SDK's OAuth client, from its first request without a token to a second one with more scopes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

import httpx
import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from api.access.resource import WELL_KNOWN_PATH, ResourceMetadata, challenge, metadata_url
from api.access.tokens import TokenVerifier
from shared.access import Principal, Scope
from shared.errors import NotAllowed, NotAuthenticated
from shared.settings import Settings
from tests.api_server import Server
from tests.issuer import Issuer, issuing
from tests.mcp_client import run


class Door:
    """A protected resource of two scopes: one to look, another to change."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._verifier: TokenVerifier | None = None
        self.app = FastAPI(redirect_slashes=False, lifespan=self._running)
        self.app.add_api_route("/mcp", self.answer, methods=["GET", "POST"])
        self.app.add_api_route(f"{WELL_KNOWN_PATH}/mcp", self.metadata)

    @asynccontextmanager
    async def _running(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        if self._verifier is not None:
            await self._verifier.close()

    async def metadata(self, request: Request) -> ResourceMetadata:
        resource = str(request.base_url) + "mcp"
        return ResourceMetadata(resource=resource, authorization_servers=(self._issuer.address,))

    async def answer(self, request: Request) -> Response:
        scope = Scope.JOBS_READ if request.method == "GET" else Scope.JOBS_WRITE
        where = metadata_url(str(request.url))
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            somebody = await self._principal(bearer, resource=str(request.url)) if bearer else None
        except NotAuthenticated as error:
            return Response(status_code=401, headers={"WWW-Authenticate": challenge(error, metadata=where)})
        if somebody is None:
            return Response(status_code=401, headers={"WWW-Authenticate": challenge(metadata=where, scopes=[scope])})
        if scope not in somebody.scopes:
            short = NotAllowed(f"This needs the scope {scope.value!r}.", scope=scope)
            return Response(status_code=403, headers={"WWW-Authenticate": challenge(short, metadata=where)})
        return Response(" ".join((somebody.actor, *sorted(somebody.scopes))))

    async def _principal(self, bearer: str, *, resource: str) -> Principal:
        if self._verifier is None:
            settings = Settings(oidc_issuer=self._issuer.address, oidc_audience=resource)
            self._verifier = TokenVerifier(settings)
        return await self._verifier.verify(bearer)


class Memory:
    """Where the client keeps what it is given, for as long as the test runs."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client_info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client_info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client_info = client_info


class Browser:
    """The user's: it goes where the client sends it, and comes back with what the issuer says."""

    def __init__(self) -> None:
        self._came_back: dict[str, str] = {}

    async def go(self, address: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            sent_back = await http.get(address)
        self._came_back = dict(parse_qsl(urlsplit(sent_back.headers["location"]).query))

    async def come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**self._came_back)


@pytest.fixture(params=["", "/realms/music"])
def issuer(request: pytest.FixtureRequest) -> Iterator[Issuer]:
    with issuing(request.param) as running:
        yield running


@pytest.fixture
def address(issuer: Issuer) -> Iterator[str]:
    """Where the protected resource is."""
    server = Server(Door(issuer).app)
    server.start()
    yield f"{server.url}/mcp"
    server.stop()


def test_the_sdks_client_finds_the_issuer_and_asks_for_as_much_as_is_needed(issuer: Issuer, address: str) -> None:
    async def steps() -> None:
        browser, memory = Browser(), Memory()
        about = OAuthClientMetadata(client_name="test", redirect_uris=[AnyUrl("http://127.0.0.1:1/callback")])
        auth = OAuthClientProvider(address, about, memory, browser.go, browser.come_back)
        async with httpx2.AsyncClient(auth=auth, trust_env=False) as client:
            looked = await client.get(address)
            assert (looked.status_code, looked.text) == (200, "oidc:ada-1815 jobs:read")
            changed = await client.post(address)
            assert (changed.status_code, changed.text) == (200, "oidc:ada-1815 jobs:read jobs:write")
        assert memory.tokens is not None
        assert issuer.requests["/token"] == 2

    run(steps)


def test_a_token_for_another_resource_is_not_taken(issuer: Issuer, address: str) -> None:
    refused = httpx.get(address, headers={"Authorization": f"Bearer {issuer.token()}"}, trust_env=False)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert 'error_description="The token was issued for another audience."' in refused.headers["www-authenticate"]
