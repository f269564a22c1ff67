"""Thousands of requests made from the description of the routes: none brings the API down, none is answered unheard of.

``BACKLINE_TEST_CASES`` says how many requests each route gets in each of four ways: well-formed and malformed, with a
key and without.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as described

from shared.broker import Queue
from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import slots
from shared.store.slots import Slot
from tests.api_server import serving
from tests.search_stage import Show, Song, publish, wait_until_open

logger = logging.getLogger(__name__)

CASES = int(os.environ.get("BACKLINE_TEST_CASES", "16"))
CASES_IN_ALL = 2_000  # at least, by default
CHECKS: list[Any] = [
    not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
]
Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture
def api(searching: Settings, db: Db) -> Iterator[httpx.Client]:
    """A client of an API with a search server and something to find."""
    pointers = (
        publish(db, searching, [Show(id="mal-1", title="Show", theme="space").entry()]),
        publish(db, searching, [Song(user="ada", id="track-1", title="Song", sound=1).entry()], name="tracks"),
    )
    wait_until_open(searching.search_url or "", *pointers)
    with serving(searching) as client:
        yield client


@pytest.fixture
def operations(api: httpx.Client) -> list[Operation]:
    """Every route, as the document describes it."""
    schema = schemathesis.openapi.from_dict(api.get("/api/openapi.json").json())
    schema.config.update(base_url=str(api.base_url))
    return [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]


def hold_to_the_document(operation: Operation, mode: GenerationMode, headers: dict[str, str]) -> int:
    """Send requests of one kind to a route, and return how many."""
    sent = 0

    @seed(20261121)
    @hypothesis_settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        nonlocal sent
        if case.headers:
            case.headers.pop("Prefer", None)  # nobody works on these jobs, so each would be waited for to the last
        response = case.call(headers=headers, timeout=20)
        sent += 1
        case.validate_response(response, checks=CHECKS)

    with suppress(Unsatisfiable):  # a route that takes nothing can't be asked in a malformed way
        ask()
    return sent


@pytest.mark.timeout(900)
def test_no_request_is_answered_in_a_way_that_is_not_described(
    api: httpx.Client, db: Db, operations: list[Operation]
) -> None:
    # Readiness may well be 503, so let it be ready: a process serves every queue, as far as anybody knows.
    later = now() + timedelta(hours=1)
    slots.save(db, Slot(id="host:1:1", worker="all", queues=tuple(Queue), started_at=now(), seen_at=later))
    key = {"Authorization": api.headers["Authorization"]}
    sent = 0
    for operation in operations:
        for headers in (key, {}):
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                sent += hold_to_the_document(operation, mode, headers)
    logger.info("%s requests", sent)
    assert sent >= min(CASES_IN_ALL, CASES * len(operations))
    assert api.get("/health/live").is_success
