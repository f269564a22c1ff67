"""What a client is told that has no good token: the challenge (RFC 6750), and where to get one (RFC 9728)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from api.mcp.wire import PATH as MCP_PATH
from shared.access import Scope
from shared.errors import WORDS_MAX, NotAllowed, NotAuthenticated
from shared.settings import Settings

REALM = "backline"
WELL_KNOWN_PATH = "/.well-known/oauth-protected-resource"

SCOPES_OFFERED = tuple(scope for scope in Scope if scope not in (Scope.METRICS, Scope.ADMIN))
"""What clients ask for that are not told what to ask for: all that an owner may do with what is theirs."""


class ResourceMetadata(BaseModel):
    """What this service is to its issuer, under the names of RFC 9728, section 2."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "resource": "https://backline.example/mcp",
                    "authorization_servers": ["https://login.example"],
                    "scopes_supported": ["jobs:read", "jobs:write", "search", "database"],
                    "bearer_methods_supported": ["header"],
                    "resource_name": "Backline",
                }
            ]
        },
    )

    resource: str = Field(description="The address that tokens are asked for by (RFC 8707)")
    authorization_servers: tuple[str, ...] = Field(description="Whose tokens are accepted, as their `iss` spells it")
    scopes_supported: tuple[str, ...] = tuple(SCOPES_OFFERED)
    bearer_methods_supported: tuple[Literal["header"], ...] = ("header",)
    resource_name: str = "Backline"


def resource_of(request: Request, settings: Settings) -> str:
    """Return the address by which clients ask their issuer for tokens (RFC 8707).

    It is the audience where that is an address, for tokens made for another one are refused; else the MCP door's.
    """
    audience = settings.oidc_audience or ""
    return audience if audience.startswith(("https://", "http://")) else door_of(request, settings)


def door_of(request: Request, settings: Settings) -> str:
    """Return the address of the MCP door, as the client that asks reaches it."""
    return (settings.public_url or str(request.base_url)).rstrip("/") + MCP_PATH


def metadata_url(resource: str) -> str:
    """Return where a resource's metadata must be found: the well-known path goes before its own (RFC 9728, 3.1)."""
    parts = urlsplit(resource)
    return urlunsplit(parts._replace(path=WELL_KNOWN_PATH + ("" if parts.path == "/" else parts.path), fragment=""))


def challenge(
    error: NotAuthenticated | NotAllowed | None = None, *, metadata: str | None = None, scopes: Iterable[str] = ()
) -> str:
    """Return the `WWW-Authenticate` that goes with a 401 or a 403 (RFC 6750, section 3; RFC 9728, section 5.1).

    `error` is what is wrong with what was sent: None where nothing was sent, for then nothing is wrong. `metadata` is
    where the metadata is; None where no issuer is known. `scopes` are what a token must have for this request; the one
    that a `NotAllowed` names is always among them.
    """
    parameters = {"realm": REALM}
    if isinstance(error, NotAllowed):
        scopes = dict.fromkeys((error.scope, *scopes))
    if error is not None:
        parameters["error"] = "insufficient_scope" if isinstance(error, NotAllowed) else "invalid_token"
    if wanted := " ".join(scopes):
        parameters["scope"] = wanted
    if metadata is not None:
        parameters["resource_metadata"] = quote(metadata, safe=":/?#[]@!$&'()*+,;=%-._~")
    if error is not None:
        # The last, for clients look for the other names without a care for where a quoted text begins.
        parameters["error_description"] = error.message[:WORDS_MAX]
    return "Bearer " + ", ".join(f'{name}="{_quotable(value)}"' for name, value in parameters.items())


def _quotable(text: str) -> str:
    """Return a text with only characters that need no escape in a quoted string and that RFC 6750 allows in each."""
    line = " ".join(text.replace('"', "'").split())
    return re.sub(r"[^ !#-\[\]-~]", "?", line)
