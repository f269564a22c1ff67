"""The resources and prompts that the suite's scenarios read, and what clients before 2026 may subscribe to."""

from __future__ import annotations

import base64
import json
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from api.mcp.tool import Provide
from tests.conformance.asking import asking, elicitation, form
from tests.conformance.tools import PIXEL

CONTEXT_SCHEMA = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}

Messages = list[UserMessage]


def _text(text: str) -> UserMessage:
    return UserMessage(TextContent(type="text", text=text))


def install(server: MCPServer[Any], _: Provide) -> None:
    """Let them be read."""
    _install_resources(server)
    _install_prompts(server)
    _install_older_methods(server)


def _install_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", description="Text that never changes", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", description="An image that never changes", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PIXEL)

    @server.resource("test://watched-resource", description="Something to subscribe to", mime_type="text/plain")
    def watched() -> str:
        return "Watched resource content"

    @server.resource("test://template/{id}/data", description="Data of an id", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the template's name for it
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _install_prompts(server: MCPServer[Any]) -> None:
    @server.prompt(name="test_simple_prompt", description="Without arguments")
    def simple() -> Messages:
        return [_text("This is a simple prompt for testing.")]

    @server.prompt(name="test_prompt_with_arguments", description="With two arguments")
    def with_arguments(arg1: str, arg2: str) -> Messages:
        return [_text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]

    @server.prompt(name="test_prompt_with_embedded_resource", description="With a resource inside")
    def with_resource(resourceUri: str) -> Messages:  # noqa: N803 - the scenario's name for it
        text = "Embedded resource content for testing."
        resource = TextResourceContents(uri=resourceUri, mime_type="text/plain", text=text)
        embedded = UserMessage(EmbeddedResource(type="resource", resource=resource))
        return [embedded, _text("Please process the embedded resource above.")]

    @server.prompt(name="test_prompt_with_image", description="With an image inside")
    def with_image() -> Messages:
        image = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [UserMessage(image), _text("Please analyze the image above.")]

    @server.prompt(name="test_input_required_result_prompt", description="Asks the user first")
    async def asking_prompt(ctx: Context[Any, Any]) -> Messages | InputRequiredResult:
        answer = form(ctx, "user_context")
        if answer is None:
            return asking(user_context=elicitation("What context should the prompt use?", CONTEXT_SCHEMA))
        return [_text(f"Use this context: {answer.get('context')}")]


def _install_older_methods(server: MCPServer[Any]) -> None:
    """Take in what clients before 2026 wish for; that is all that the scenarios look at."""

    async def taken(_: ServerRequestContext[Any, Any], __: RequestParams) -> EmptyResult:
        return EmptyResult()

    # The SDK offers no public way to these methods above its low-level server.
    methods = server._lowlevel_server
    methods.add_request_handler("logging/setLevel", SetLevelRequestParams, taken)
    methods.add_request_handler("resources/subscribe", SubscribeRequestParams, taken)
    methods.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, taken)
