"""What is refused before a route is reached, and what goes wrong in one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest

from shared.clock import now
from shared.errors import QuotaSpent
from shared.model import Db
from shared.settings import Settings
from shared.store import schedules
from tests.api_server import problem_of, serving


@pytest.fixture
def small(settings: Settings, db: Db) -> Iterator[httpx.Client]:
    """An API that takes bodies of up to 1,000 bytes, and is also known as music.example."""
    changes = {"max_body_bytes": 1000, "allowed_hosts": ("Music.Example",)}
    with serving(settings.model_copy(update=changes)) as client:
        yield client


def test_a_route_that_does_not_exist_is_not_found(api: httpx.Client) -> None:
    problem = problem_of(api.get("/api/nothing"), 404, "route_not_found")

    assert problem["instance"] == "/api/nothing"


def test_a_method_that_a_route_does_not_have_is_refused(api: httpx.Client) -> None:
    response = api.put("/api/schedules", json={})

    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"]


def test_a_body_that_is_too_long_is_refused(small: httpx.Client) -> None:
    response = small.post("/api/jobs/squares", json={"userId": "a" * 1000})

    assert "1000 bytes" in problem_of(response, 413, "body_too_large")["detail"]


def test_a_long_body_is_refused_also_when_its_length_is_not_said(small: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"userId": "'
        for _ in range(20):
            yield b"a" * 100
        yield b'"}'

    response = small.post("/api/jobs/squares", content=parts(), headers={"Content-Type": "application/json"})

    assert "content-length" not in response.request.headers
    problem_of(response, 413, "body_too_large")


def test_a_long_body_is_refused_where_no_body_is_read(small: httpx.Client) -> None:
    problem_of(small.post("/api/nothing", content=b"a" * 1001), 413, "body_too_large")


def test_a_body_of_the_greatest_length_is_taken(small: httpx.Client) -> None:
    body = b'{"items": 1}'

    response = small.post(
        "/api/jobs/squares", content=body + b" " * (1000 - len(body)), headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 202


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:80:80", "", "[::2]:80"])
def test_other_host_names_are_refused(small: httpx.Client, host: str) -> None:
    problem_of(small.get("/api/kinds", headers={"Host": host}), 421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1:1", "[::1]:8765", "music.example"])
def test_loopback_and_allowed_host_names_are_answered(small: httpx.Client, host: str) -> None:
    assert small.get("/api/kinds", headers={"Host": host}).status_code == 200


def test_every_host_name_can_be_allowed(settings: Settings, db: Db) -> None:
    with serving(settings.model_copy(update={"allowed_hosts": ("*",)})) as client:
        assert client.get("/api/kinds", headers={"Host": "any.example"}).status_code == 200


def test_what_nobody_expected_is_answered_with_an_id_that_is_in_the_log(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(schedules, "find_all", fail)
    with caplog.at_level(logging.ERROR, logger="api.problems"):
        response = api.get("/api/schedules")

    problem = problem_of(response, 500, "internal_error")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    record = next(record for record in caplog.records if record.name == "api.problems")
    assert problem["instance"] in record.getMessage()
    assert record.exc_info is not None


def test_a_refusal_that_passes_by_itself_says_when_to_try_again(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise QuotaSpent("The budget is spent.", resumes_at=now())

    monkeypatch.setattr(schedules, "find_all", fail)
    response = api.get("/api/schedules")

    problem_of(response, 503, "quota_spent")
    assert int(response.headers["retry-after"]) > 0
