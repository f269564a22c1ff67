"""The OpenAPI description of the routes, with what FastAPI can't know of our errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from api.clusters import ClusterList
from api.documents import ItemPage, Job, JobWithRequest, ScheduleDocument
from api.keys import Key, MadeKey
from api.parts import DetailedHealth, Readiness, Status
from api.problems import MEDIA_TYPE, Problem
from api.providers import Providers
from api.recommendations import RecommendationList
from api.search import Index, IndexList
from shared.jobs import known_kinds
from shared.model import Json
from shared.search import SearchAnswer

SCHEMAS = "#/components/schemas/"

TAGS: list[dict[str, Any]] = [
    {"name": "submit", "description": "One route per kind of job"},
    {"name": "jobs", "description": "Jobs, their items and their progress"},
    {
        "name": "database",
        "description": "Validation, exports, insights and analytics of your library; for the scope `database`",
    },
    {"name": "artifacts", "description": "Large results, downloaded as files; for the scope `database`"},
    {"name": "schedules", "description": "Jobs that are submitted by themselves"},
    {"name": "search", "description": "What the catalogue and the analysed music hold"},
    {"name": "recommendations", "description": "What users may like, and which groups there are"},
    {"name": "kinds", "description": "Which kinds of job there are"},
    {"name": "providers", "description": "Who else knows the features of a track"},
    {"name": "keys", "description": "Who may come in; for keys with the scope `admin`"},
    {"name": "audit", "description": "Who did what; for keys with the scope `admin`"},
    {"name": "discovery", "description": "Where tokens are to be had"},
    {"name": "health", "description": "What works and what does not"},
]

OFFLINE = (
    "<p>This page loads Swagger UI from cdn.jsdelivr.net, so it needs the network. Without it, the whole description of"
    ' the routes is at <a href="/api/openapi.json">/api/openapi.json</a>.</p>'
)
"""What the documentation page shows until it is drawn, and for good on a machine without the network."""

KEY_FROM_ADDRESS = """<script>
// The key may come behind the "#", which no browser sends anywhere; it is taken out of the address bar and the history.
const sent = new URLSearchParams(location.hash.slice(1)).get("key");
if (sent) {
  sessionStorage.setItem("backline-key", sent);
  history.replaceState(null, "", location.pathname);
}
const key = sessionStorage.getItem("backline-key");
if (key) {
  const waiting = setInterval(() => {
    if (ui.getSystem().specSelectors.specJson().size) {
      clearInterval(waiting);
      ui.preauthorizeApiKey("key", key);
    }
  }, 100);
}
</script>
</body>"""
"""Lets the documentation page pick up the key of a link that `backline up` shows, so that its routes can be tried."""

COMMON: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No key came with the request, or one that is not valid"},
    403: {"model": Problem, "description": "The key lacks a scope, or the page that calls is of a strange origin"},
    429: {"model": Problem, "description": "The key's budget is used up; try again after `Retry-After` seconds"},
    400: {"model": Problem, "description": "The body or a cursor can't be read"},
    422: {"model": Problem, "description": "Fields of the request are wrong: `errors` names them"},
    500: {"model": Problem, "description": "Something unexpected happened; the log has it under `instance`"},
    503: {"model": Problem, "description": "A server does not answer; try again after `Retry-After` seconds"},
}
"""What any route may answer."""


def operation_id(route: APIRoute) -> str:
    """Return the name that generated clients give to a route."""
    return route.name


def install(app: FastAPI) -> None:
    """Let `app` describe itself with what FastAPI leaves out."""
    describe = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(describe())
        return app.openapi_schema

    app.add_api_route("/api/docs", docs_page, include_in_schema=False)
    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def docs_page() -> HTMLResponse:
    """Return the documentation page, which says what it needs."""
    page = get_swagger_ui_html(openapi_url="/api/openapi.json", title="Backline: the routes")
    place = '<div id="swagger-ui">'
    html = bytes(page.body).decode().replace(place, place + OFFLINE, 1).replace("</body>", KEY_FROM_ADDRESS, 1)
    return HTMLResponse(html)


def _completed(schema: Json) -> Json:
    _mark_problems(schema)
    schemas = schema["components"]["schemas"]
    for model in (
        Job,
        JobWithRequest,
        ItemPage,
        ScheduleDocument,
        DetailedHealth,
        Readiness,
        Status,
        Providers,
        Key,
        MadeKey,
        SearchAnswer,
        RecommendationList,
        ClusterList,
        Index,
        IndexList,
    ):
        # FastAPI drops every null, also from examples, which are then no longer valid.
        schemas[model.__name__]["examples"] = model.model_json_schema()["examples"]
    return _with_named_requests(schema)


def _mark_problems(schema: Json) -> None:
    """Give each problem its own media type."""
    for path in schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                for form in list(content):  # that of the route's good answers
                    if content[form].get("schema", {}).get("$ref") == f"{SCHEMAS}Problem":
                        content[MEDIA_TYPE] = content.pop(form)


def _with_named_requests(schema: Json) -> Json:
    """Name each kind's request after the kind, for all of them are called `Request`."""
    names: dict[str, str] = {}
    for kind in known_kinds().values():
        operation = schema["paths"][f"/api/jobs/{kind.name}"]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        camel = "".join(part.capitalize() for part in kind.name.split("_"))
        names.setdefault(reference.removeprefix(SCHEMAS), f"{camel}Request")
    renamed: Json = _replaced(schema, {SCHEMAS + old: SCHEMAS + new for old, new in names.items()})
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {names.get(name, name): value for name, value in schemas.items()}
    return renamed


def _replaced(value: Any, references: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: references.get(one, one) if key == "$ref" else _replaced(one, references) for key, one in value.items()
        }
    return [_replaced(one, references) for one in value] if isinstance(value, list) else value
