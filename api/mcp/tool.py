"""The form of a tool: arguments that are checked as the REST API checks a body, and errors in the same words."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from api.access import visit
from api.mcp.wire import in_words
from api.metrics.counted import FAILED, OK, REFUSED
from api.problems import Unexpected, explained
from api.services import Services
from shared.access import Scope
from shared.errors import BacklineError, InvalidRequest, ServiceUnavailable
from shared.lifecycle import invalid_request
from shared.model import Body, Json

DATA = ("default", "const", "enum")
"""What in a schema is no schema itself."""
TARGETS = ("jobId", "name")
TARGET_MAX = 256
PROBLEM = "backline/problem"
"""Where a failed call's `_meta` holds what programs need: the stable code, the advice, the fields that are wrong."""

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

Provide = Callable[[], Services]
"""Hands out the parts of the running process, which exist from its start to its end."""
Call = Callable[[Any, "Context[Any, Any]"], Awaitable[CallToolResult | InputRequiredResult]]


class Nothing(Body):
    """No argument at all."""


class JobTool(Tool):
    """A tool of ours; whatever goes wrong in it is told to the model, with what to do."""

    check: Callable[[Json], Any] = Field(exclude=True)
    scope: Scope = Field(exclude=True)
    provide: Provide = Field(exclude=True)
    submits: bool = Field(default=False, exclude=True)
    """Whether a good answer is a job, which a client that knows tasks follows as such."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Check the arguments, do the work, and answer either way."""
        seen = visit.current()
        seen.action, seen.target = self.name, _target(arguments)
        seen.changes = not (self.annotations and self.annotations.read_only_hint)
        started, outcome = perf_counter(), OK
        try:
            visit.principal(self.scope)
            return await self.fn(self.check(self._unpacked(arguments)), context)
        except MCPError:
            outcome = REFUSED
            raise
        except Exception as error:  # noqa: BLE001 - the request's boundary, where it is logged and answered
            meaning = explained(error, self.provide().connection, where=f"The tool {self.name}")
            outcome = FAILED if isinstance(meaning, Unexpected | ServiceUnavailable) else REFUSED
            seen.outcome = meaning.code
            return refusal(meaning)
        finally:
            self.provide().counted.called(self.name, outcome, perf_counter() - started)

    def _unpacked(self, arguments: Mapping[str, Any]) -> Json:
        """Return the arguments with lists and objects in place of the JSON text that some clients make of them."""
        fields: Mapping[str, Json] = self.parameters.get("properties", {})
        return {name: _unpacked(value, fields.get(name, {})) for name, value in arguments.items()}


def _target(arguments: Mapping[str, Any]) -> str | None:
    """Return what a call is about: a job's id, or a schedule's name."""
    named = (arguments.get(field) for field in TARGETS)
    return next((value[:TARGET_MAX] for value in named if isinstance(value, str)), None)


def _unpacked(value: Any, schema: Mapping[str, Any]) -> Any:
    is_packed = isinstance(value, str) and value[:1] in ("[", "{") and schema.get("type") != "string"
    if not is_packed:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def tool(
    call: Call,
    *,
    name: str,
    title: str,
    description: str,
    annotations: ToolAnnotations,
    arguments: type[Body],
    output: type[BaseModel] | None,
    provide: Provide,
    scope: Scope | None = None,
) -> JobTool:
    """Return a tool whose arguments are the fields of a model; a null means that one is not given.

    Without an `output` it answers with content alone.
    """

    def check(values: Json) -> Body:
        return checked(arguments, {key: value for key, value in values.items() if value is not None})

    return made(
        call,
        name=name,
        title=title,
        description=description,
        annotations=annotations,
        check=check,
        schema=lean(arguments.model_json_schema()),
        output=output,
        provide=provide,
        scope=scope,
    )


def made(
    call: Call,
    *,
    name: str,
    title: str,
    description: str,
    annotations: ToolAnnotations,
    check: Callable[[Json], Any],
    schema: Json,
    output: type[BaseModel] | None,
    provide: Provide,
    scope: Scope | None = None,
    submits: bool = False,
) -> JobTool:
    """Return a tool with a check and a schema of its own; its callers need the scope of jobs if none is named."""
    usual = Scope.JOBS_READ if annotations.read_only_hint else Scope.JOBS_WRITE
    metadata = FuncMetadata(arg_model=ArgModelBase, output_model=output)
    metadata.output_schema = lean(metadata.output_schema) if metadata.output_schema else None
    return JobTool(
        fn=call,
        name=name,
        title=title,
        description=description,
        parameters=schema,
        fn_metadata=metadata,
        is_async=True,
        annotations=annotations,
        check=check,
        provide=provide,
        scope=scope or usual,
        submits=submits,
    )


def lean(schema: Json) -> Json:
    """Return a schema without what only costs its readers: names that repeat a key, examples of whole documents."""
    return {
        key: _lean_parts(value) if key in ("properties", "$defs") else value if key in DATA else _lean_value(value)
        for key, value in schema.items()
        if key not in ("title", "examples")
    }


def _lean_parts(schemas: Mapping[str, Json]) -> Json:
    return {name: lean(schema) for name, schema in schemas.items()}


def _lean_value(value: Any) -> Any:
    if isinstance(value, dict):
        return lean(value)
    return [_lean_value(one) for one in value] if isinstance(value, list) else value


def checked(model: type[Body], values: Json) -> Body:
    """Return the values as a model. Raises `InvalidRequest`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request([(one["loc"], one["msg"]) for one in error.errors()]) from None


def refusal(error: BacklineError) -> CallToolResult:
    """Return the result of a call that failed: the code, what happened, and what to do."""
    fields: Sequence[tuple[str, str]] = error.fields if isinstance(error, InvalidRequest) else ()
    problem: Json = {"code": error.code, "detail": error.message, "advice": error.advice}
    if fields:
        problem["errors"] = [{"field": name, "message": message} for name, message in fields]
    # Not as structured content: some clients hold even an error's against the schema of a good answer.
    return CallToolResult(
        content=[TextContent(type="text", text=in_words(error))], is_error=True, _meta={PROBLEM: problem}
    )
