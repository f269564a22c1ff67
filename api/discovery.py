"""Where clients learn who issues the tokens that are accepted here (RFC 9728)."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api.access.resource import WELL_KNOWN_PATH, ResourceMetadata, resource_of
from api.mcp.wire import PATH as MCP_PATH
from api.problems import Problem
from api.services import InjectedServices
from shared.errors import NoIssuer

router = APIRouter(tags=["discovery"])


@router.get(
    WELL_KNOWN_PATH + MCP_PATH,
    summary="Where are tokens to be had?",
    response_model=ResourceMetadata,
    responses={404: {"model": Problem, "description": "No issuer is configured: there are only keys"}},
)
@router.get(WELL_KNOWN_PATH, name="metadata_of_the_whole", include_in_schema=False)
async def resource_metadata(request: Request, services: InjectedServices) -> ResourceMetadata:
    """The protected-resource metadata of the MCP door, and of all routes, for tokens open every door."""
    issuer = services.settings.oidc_issuer
    if issuer is None:
        raise NoIssuer("No issuer of tokens is configured; what opens the doors is a key.")
    return ResourceMetadata(resource=resource_of(request, services.settings), authorization_servers=(issuer,))
