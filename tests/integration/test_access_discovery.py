"""The SDK's OAuth client at our own doors: from its first request without a token to one with more scopes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from shared.model import Db
from shared.settings import Settings
from shared.store import jobs
from tests.api_server import Worker, bearer, problem_of, serving
from tests.issuer import SUBJECT, Issuer, issuing
from tests.machine import free_port
from tests.mcp_client import ERAS, call, run
from tests.waiting import wait_until


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
def api(settings: Settings, db: Db, issuer: Issuer) -> Iterator[httpx.Client]:
    """The API, which accepts the tokens of the issuer that are made for its MCP door."""
    port = free_port()
    told = {"oidc_issuer": issuer.address, "oidc_audience": f"http://127.0.0.1:{port}/mcp"}
    with serving(settings.model_copy(update=told), port=port) as client:
        yield client


def token_for(issuer: Issuer, api: httpx.Client, **claims: Any) -> str:
    return issuer.token(aud=f"{str(api.base_url).rstrip('/')}/mcp", **claims)


@asynccontextmanager
async def signed_in(api: httpx.Client, memory: Memory, era: str) -> AsyncIterator[Client]:
    """Give a client that has nothing but the address, and a user who lets it in."""
    address, browser = f"{str(api.base_url).rstrip('/')}/mcp", Browser()
    about = OAuthClientMetadata(client_name="test", redirect_uris=[AnyUrl("http://127.0.0.1:1/callback")])
    auth = OAuthClientProvider(address, about, memory, browser.go, browser.come_back)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=30) as http,
        Client(streamable_http_client(address, http_client=http), mode=era) as client,
    ):
        yield client


@pytest.mark.parametrize("era", ERAS)
def test_the_sdks_client_finds_the_issuer_and_is_let_in(api: httpx.Client, db: Db, issuer: Issuer, era: str) -> None:
    async def steps() -> None:
        memory = Memory()
        async with signed_in(api, memory, era) as client:
            job_id = (await call(client, "submit_squares", items=2))["id"]
            assert (await call(client, "get_job", jobId=job_id))["status"] == "queued"
        assert memory.tokens is not None
        assert issuer.requests["/token"] == 1
        owner = jobs.get(db, job_id).owner
        assert owner.startswith("oidc-")

        # The same token opens the other doors, and what is its subject's, to nobody else
        own = api.get(f"/api/jobs/{job_id}", headers=bearer(memory.tokens.access_token))
        assert own.json()["owner"] == owner
        another = token_for(issuer, api, sub="somebody else")
        problem_of(api.get(f"/api/jobs/{job_id}", headers=bearer(another)), 404, "job_not_found")
        problem_of(api.get(f"/api/jobs/{job_id}"), 404, "job_not_found")

    run(steps)


def test_a_client_whose_token_lacks_a_scope_asks_for_it(api: httpx.Client, issuer: Issuer) -> None:
    async def steps() -> None:
        little = OAuthToken(access_token=token_for(issuer, api, scope="jobs:read"), scope="jobs:read")
        memory = Memory()
        memory.tokens = little
        async with signed_in(api, memory, "auto") as client:
            assert (await call(client, "list_jobs"))["jobs"] == []
            assert issuer.requests["/token"] == 0
            await call(client, "submit_squares", items=2)
            assert issuer.requests["/token"] == 1

    run(steps)


def test_the_metadata_says_where_tokens_are_to_be_had(api: httpx.Client, issuer: Issuer) -> None:
    with httpx.Client(base_url=api.base_url) as stranger:
        refused = stranger.get("/api/jobs")
        told = refused.headers["www-authenticate"]
        where = f"{str(api.base_url).rstrip('/')}/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{where}"' in told
        assert "error" not in told
        for path in (where, "/.well-known/oauth-protected-resource"):
            metadata = stranger.get(path).json()
            assert metadata["resource"] == f"{str(api.base_url).rstrip('/')}/mcp"
            assert metadata["authorization_servers"] == [issuer.address]
            assert metadata["bearer_methods_supported"] == ["header"]
        bad = stranger.get("/api/jobs", headers=bearer(issuer.token()))
        assert 'error="invalid_token"' in bad.headers["www-authenticate"]
        assert 'error_description="The token was issued for another audience."' in bad.headers["www-authenticate"]


def test_without_an_issuer_there_is_no_metadata(settings: Settings, db: Db) -> None:
    with serving(settings) as api, httpx.Client(base_url=api.base_url) as stranger:
        problem_of(stranger.get("/.well-known/oauth-protected-resource/mcp"), 404, "no_issuer")
        assert "resource_metadata" not in stranger.get("/api/jobs").headers["www-authenticate"]


def test_keys_go_on_opening_the_doors_while_the_issuer_is_down(api: httpx.Client, issuer: Issuer) -> None:
    issuer.stop()
    assert api.get("/api/jobs").status_code == 200
    answer = api.get("/api/jobs", headers=bearer(token_for(issuer, api)))
    problem_of(answer, 503, "service_unavailable")


def test_the_audit_log_names_the_subject(api: httpx.Client, issuer: Issuer, worker: Worker) -> None:
    answer = api.post("/api/jobs/squares", json={"items": 1}, headers=bearer(token_for(issuer, api)))
    assert answer.status_code == 202
    entries = wait_until(lambda: api.get("/api/audit", params={"actor": f"oidc:{SUBJECT}"}).json()["entries"])
    assert [entry["target"] for entry in entries] == [answer.json()["id"]]
