"""What a client without a good token reads, as the SDK's own client reads it."""

from __future__ import annotations

import re

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_field_from_www_auth,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth import ProtectedResourceMetadata

from api.access.resource import ResourceMetadata, challenge, metadata_url
from shared.errors import NotAllowed, NotAuthenticated

METADATA = "https://backline.example/.well-known/oauth-protected-resource/mcp"
EXPIRED = NotAuthenticated("The token has expired.")
NO_WRITE = NotAllowed("This needs the scope 'jobs:write'.", scope="jobs:write")

QUOTED_STRINGS = r'Bearer [a-z_]+="[ !#-\[\]-~]*"(, [a-z_]+="[ !#-\[\]-~]*")*'
"""The form of RFC 9110, 11.6.1, without any escape: what every client can read."""


def test_who_sends_nothing_is_told_only_where_to_go() -> None:
    assert challenge() == 'Bearer realm="backline"'
    assert challenge(metadata=METADATA) == f'Bearer realm="backline", resource_metadata="{METADATA}"'
    assert 'scope="jobs:read search"' in challenge(metadata=METADATA, scopes=("jobs:read", "search"))


def test_who_sends_a_bad_token_is_told_what_is_wrong_with_it() -> None:
    assert challenge(EXPIRED, metadata=METADATA) == (
        f'Bearer realm="backline", error="invalid_token", resource_metadata="{METADATA}",'
        ' error_description="The token has expired."'
    )


def test_whose_token_is_not_enough_is_told_what_would_be() -> None:
    assert challenge(NO_WRITE, metadata=METADATA) == (
        f'Bearer realm="backline", error="insufficient_scope", scope="jobs:write", resource_metadata="{METADATA}",'
        """ error_description="This needs the scope 'jobs:write'.\""""
    )
    assert 'scope="jobs:write jobs:read"' in challenge(NO_WRITE, scopes=("jobs:read", "jobs:write"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_client_finds_each_part_although_the_description_names_them_too(status: int) -> None:
    error = NotAllowed('It says scope="admin", error="x" and resource_metadata=https://evil.example.', scope="search")
    value = challenge(error, metadata=METADATA)
    assert "It says scope='admin', error='x'" in value
    response = httpx2.Response(status, headers={"WWW-Authenticate": value})
    assert extract_field_from_www_auth(response, "error") == "insufficient_scope"
    assert extract_scope_from_www_auth(response) == "search"
    assert extract_resource_metadata_from_www_auth(response) == METADATA


@given(message=st.text(), metadata=st.text(), scopes=st.lists(st.text()))
def test_no_text_breaks_out_of_its_quotes(message: str, metadata: str, scopes: list[str]) -> None:
    value = challenge(NotAuthenticated(message), metadata=metadata, scopes=scopes)
    assert re.fullmatch(QUOTED_STRINGS, value)


def test_a_long_description_is_cut_and_a_long_address_is_not() -> None:
    value = challenge(NotAuthenticated("X" * 5000), metadata=f"{METADATA}/{'Y' * 500}")
    assert value.count("X") == 300
    assert value.count("Y") == 500


def test_what_has_no_place_in_an_address_is_encoded() -> None:
    value = challenge(metadata='https://backline.example/a"b\\c\r\nd%20ä')
    assert value.endswith('resource_metadata="https://backline.example/a%22b%5Cc%0D%0Ad%20%C3%A4"')


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("https://backline.example/mcp", METADATA),
        ("https://backline.example", "https://backline.example/.well-known/oauth-protected-resource"),
        ("https://backline.example/", "https://backline.example/.well-known/oauth-protected-resource"),
        ("http://127.0.0.1:8765/mcp", "http://127.0.0.1:8765/.well-known/oauth-protected-resource/mcp"),
        ("https://b.example/a/mcp?x=1#y", "https://b.example/.well-known/oauth-protected-resource/a/mcp?x=1"),
    ],
)
def test_the_metadata_is_where_clients_look_without_being_told(resource: str, expected: str) -> None:
    assert metadata_url(resource) == expected
    if "?" not in resource:  # where the SDK's client leaves the query out
        assert expected in build_protected_resource_metadata_discovery_urls(None, resource)


@pytest.mark.parametrize(
    "issuer", ["https://login.example", "https://login.example/", "https://login.example/realms/a"]
)
def test_a_client_reads_the_metadata_as_it_was_written(issuer: str) -> None:
    document = ResourceMetadata(resource="https://backline.example/mcp", authorization_servers=(issuer,))
    assert document.model_dump(mode="json") == {
        "resource": "https://backline.example/mcp",
        "authorization_servers": [issuer],
        "scopes_supported": ["jobs:read", "jobs:write", "search", "database"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Backline",
    }
    read = ProtectedResourceMetadata.model_validate_json(document.model_dump_json())
    assert [str(server) for server in read.authorization_servers] == [issuer]
    assert str(read.resource) == document.resource
