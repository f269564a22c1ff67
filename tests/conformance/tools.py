"""The tools that the suite's scenarios call, made by the builder that makes Backline's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context, require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from api.mcp.jobs import submit_tool
from api.mcp.tasks import IDENTIFIER
from api.mcp.tool import READS, Call, JobTool, Provide, made, tool
from shared.errors import BacklineError
from shared.model import Body, Json
from tests.conformance.kinds import FAILING

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="
STEPS = (0, 50, 100)

Ctx = Context[Any, Any]


class Nothing(Body):
    """No argument at all."""


class Name(Body):
    """Whom to greet."""

    name: str


class Region(Body):
    """An argument that proxies route by, so that it stands in a header as well."""

    region: str = Field(default="none", json_schema_extra={"x-mcp-header": "Region"})


class AskedToFail(BacklineError):
    """The tool fails because that is what it is for."""

    code = "asked_to_fail"
    advice = "Nothing to do."


def say(*content: ContentBlock | str) -> CallToolResult:
    """Return a result of these blocks."""
    blocks = [TextContent(type="text", text=one) if isinstance(one, str) else one for one in content]
    return CallToolResult(content=blocks)


def fixture(name: str, call: Call, provide: Provide, arguments: type[Body] = Nothing) -> JobTool:
    """Return a tool whose description is the function's docstring."""
    return tool(
        call,
        name=name,
        title=name.replace("_", " ").capitalize(),
        description=str(call.__doc__),
        annotations=READS,
        arguments=arguments,
        output=None,
        provide=provide,
    )


def _text(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


async def greet(who: Name, _: Ctx) -> CallToolResult:
    """Greet somebody, at once."""
    return say(f"Hello, {who.name}!")


async def simple_text(_: Nothing, __: Ctx) -> CallToolResult:
    """Answer with text."""
    return say("This is a simple text response for testing.")


async def image_content(_: Nothing, __: Ctx) -> CallToolResult:
    """Answer with an image."""
    return say(ImageContent(type="image", data=PIXEL, mime_type="image/png"))


async def audio_content(_: Nothing, __: Ctx) -> CallToolResult:
    """Answer with sound."""
    return say(AudioContent(type="audio", data=SILENCE, mime_type="audio/wav"))


async def embedded_resource(_: Nothing, __: Ctx) -> CallToolResult:
    """Answer with a resource inside."""
    return say(_text("test://embedded-resource", "text/plain", "This is an embedded resource content."))


async def multiple_content_types(_: Nothing, __: Ctx) -> CallToolResult:
    """Answer with text, an image and a resource."""
    return say(
        "Multiple content types test:",
        ImageContent(type="image", data=PIXEL, mime_type="image/png"),
        _text("test://mixed-content-resource", "application/json", json.dumps({"test": "data", "value": 123})),
    )


async def error_handling(_: Nothing, __: Ctx) -> CallToolResult:
    """Fail."""
    raise AskedToFail("This tool intentionally returns an error for testing.")


async def tool_with_progress(_: Nothing, context: Ctx) -> CallToolResult:
    """Tell of progress, then answer."""
    for step in STEPS:
        await context.report_progress(step, 100, f"Completed step {step} of 100")
    return say("Every step is done.")


async def tool_with_logging(_: Nothing, context: Ctx) -> CallToolResult:
    """Write to the client's log, where it wants that, then answer."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(message)  # deprecated, and still part of the protocol
    return say("Three messages were logged.")


async def missing_capability(_: Nothing, context: Ctx) -> CallToolResult:
    """Refuse clients that can't sample."""
    capabilities = context.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data: Json = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool asks the client's model.", data)
    return say("The client can sample.")


async def x_mcp_header(where: Region, _: Ctx) -> CallToolResult:
    """Answer with the region, which stands in a header as well."""
    return say(f"region={where.region}")


async def reconnection(_: Nothing, context: Ctx) -> CallToolResult:
    """Close the stream in the middle of a call; the answer is told on the next one."""
    await context.close_sse_stream()
    return say("The stream was closed on the way.")


SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The keywords that must come through to a client unharmed."""


def _with_schema(provide: Provide) -> JobTool:
    async def call(arguments: Json, _: Ctx) -> CallToolResult:
        return say(json.dumps(arguments))

    return made(
        call,
        name="json_schema_2020_12_tool",
        title="A rich schema",
        description="Answer with the arguments.",
        annotations=READS,
        check=lambda values: values,
        schema=SCHEMA,
        output=None,
        provide=provide,
    )


def only_as_task(wrapped: JobTool, name: str) -> JobTool:
    """Return a tool under another name that refuses clients which do not know tasks."""

    async def call(arguments: Any, context: Ctx) -> Any:
        require_client_extension(context.request_context, IDENTIFIER)
        return await wrapped.fn(arguments, context)

    return wrapped.model_copy(update={"fn": call, "name": name})


def answering_tools(provide: Provide) -> Sequence[JobTool]:
    """Return the tools that answer without asking."""
    plain: dict[str, Call] = {
        "test_simple_text": simple_text,
        "test_image_content": image_content,
        "test_audio_content": audio_content,
        "test_embedded_resource": embedded_resource,
        "test_multiple_content_types": multiple_content_types,
        "test_error_handling": error_handling,
        "test_tool_with_progress": tool_with_progress,
        "test_tool_with_logging": tool_with_logging,
        "test_logging_tool": tool_with_logging,
        "test_missing_capability": missing_capability,
        "test_reconnection": reconnection,
    }
    return [
        fixture("greet", greet, provide, Name),
        fixture("test_x_mcp_header", x_mcp_header, provide, Region),
        *(fixture(name, call, provide) for name, call in plain.items()),
        _with_schema(provide),
        only_as_task(submit_tool(FAILING, provide), "failing_job"),
    ]
