"""The OpenAPI document describes what is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from shared.jobs import known_kinds
from shared.jobs.audio_features import KIND as AUDIO_FEATURES
from shared.settings import Settings
from shared.store.job_record import JobStatus
from tests.api_server import Worker

DESCRIBED_METHODS = {"get", "head", "post", "patch", "delete"}


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in DESCRIBED_METHODS
            yield f"{method.upper()} {path}", operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema)


def test_it_is_served(api: httpx.Client, document: dict[str, Any]) -> None:
    assert api.get("/api/openapi.json").json() == document
    assert api.get("/api/docs").status_code == 200


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert document["openapi"].startswith("3.1")
    assert {reference.rpartition("/")[2] for reference in references(document)} <= schemas.keys()
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]

    assert len(names) == len(set(names))
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert all(parameter.get("description") for parameter in operation.get("parameters", [])), name


HEALTH = (("GET /health/ready", "503"), ("GET /health/detailed", "503"))
"""Answers that are no problem documents, for whoever asks wants to know all parts."""


def test_every_error_is_a_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert {"400", "401", "403", "422", "429", "500", "503"} <= operation["responses"].keys(), name
        for status, response in operation["responses"].items():
            if int(status) >= 400 and (name, status) not in HEALTH:
                content = response["content"]
                assert list(content) == ["application/problem+json"], (name, status)
                assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_kind_has_a_route_with_its_own_request(document: dict[str, Any]) -> None:
    for kind in known_kinds().values():
        operation = document["paths"][f"/api/jobs/{kind.name}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        properties = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        assert "userId" in properties
        assert schema["$ref"].endswith(f"/{kind.name.title().replace('_', '')}Request")
        assert (operation["summary"], operation["description"]) == (kind.title, kind.description)


def test_the_examples_of_requests_are_valid(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/jobs/audio_features"]["post"]["requestBody"]["content"]["application/json"]
    examples = [example["value"] for example in content["examples"].values()]

    assert examples == list(AUDIO_FEATURES.examples)
    for example in examples:
        AUDIO_FEATURES.request.model_validate(example)
        validator(document, content["schema"]["$ref"].rpartition("/")[2]).validate(example)


def test_the_examples_of_bodies_are_valid(document: dict[str, Any]) -> None:
    checked = []
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            validator(document, name).validate(example)
            checked.append(name)

    assert {"Job", "JobWithRequest", "ItemPage", "Problem", "NewSchedule", "ScheduleChange"} <= set(checked)


def test_answers_have_the_form_that_is_described(api: httpx.Client, worker: Worker, document: dict[str, Any]) -> None:
    job = worker.ended(JobStatus.FAILED)
    body = {"name": "hourly", "kind": "squares", "request": {}, "everySeconds": 60}

    validator(document, "Job").validate(api.post("/api/jobs/squares", json={}).json())
    validator(document, "JobWithRequest").validate(api.get(f"/api/jobs/{job.id}").json())
    validator(document, "JobPage").validate(api.get("/api/jobs").json())
    validator(document, "ItemPage").validate(api.get(f"/api/jobs/{job.id}/items").json())
    validator(document, "KindList").validate(api.get("/api/kinds").json())
    validator(document, "Problem").validate(api.get("/api/jobs/job_0").json())
    validator(document, "Readiness").validate(api.get("/health/ready").json())
    validator(document, "Status").validate(api.get("/api/status").json())
    validator(document, "ScheduleDocument").validate(api.post("/api/schedules", json=body).json())


def test_the_page_takes_the_key_of_its_link(api: httpx.Client) -> None:
    page = api.get("/api/docs").text
    assert page.count("</body>") == 1
    assert 'ui.preauthorizeApiKey("key", key)' in page
    assert api.get("/api/openapi.json").json()["components"]["securitySchemes"].keys() == {"key"}


def test_the_page_says_what_it_needs_where_it_can_not_be_drawn(api: httpx.Client) -> None:
    page = api.get("/api/docs").text
    assert "needs the network" in page
    assert 'href="/api/openapi.json"' in page


def test_kinds_health_and_status_have_examples(document: dict[str, Any]) -> None:
    for name in ("Kind", "Readiness", "Status"):
        assert document["components"]["schemas"][name]["examples"]
