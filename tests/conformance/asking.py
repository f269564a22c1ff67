"""The tools that ask the client something before they answer: by a result that says so, or, before 2026, on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context
from mcp_types import (
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

from api.mcp.jobs import submit_tool
from api.mcp.tool import Call, JobTool, Provide
from shared.model import Body, Json
from tests.conformance.kinds import GREETING, NAME_SCHEMA
from tests.conformance.tools import Nothing, fixture, say

Ctx = Context[Any, Any]
Answer = CallToolResult | InputRequiredResult

OK_SCHEMA: Json = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
COLOUR_SCHEMA: Json = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
USER_SCHEMA: Json = {
    "type": "object",
    "properties": {"username": {"type": "string"}, "email": {"type": "string"}},
    "required": ["username", "email"],
}
DEFAULTS_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}


def _titled(**titles: str) -> list[Json]:
    return [{"const": value, "title": title} for value, title in titles.items()]


ENUMS_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["low", "high"]},
        "titledSingle": {"type": "string", "oneOf": _titled(low="Low", high="High")},
        "legacyEnum": {"type": "string", "enum": ["low", "high"], "enumNames": ["Low", "High"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["low", "high"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled(low="Low", high="High")}},
    },
    "required": [],
}


class Prompt(Body):
    """What to ask the client's model."""

    prompt: str


class Message(Body):
    """What to ask the user."""

    message: str


def elicitation(message: str, schema: Json) -> ElicitRequest:
    """Return a question to the user."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(prompt: str) -> CreateMessageRequest:
    """Return a question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def asking(state: str | None = None, /, **requests: InputRequest) -> InputRequiredResult:
    """Return a result that asks."""
    return InputRequiredResult(input_requests=requests, request_state=state)


def form(context: Ctx, key: str) -> Json | None:
    """Return what the user has filled in, None where there is no such answer."""
    answer = (context.input_responses or {}).get(key)
    return dict(answer.content or {}) if isinstance(answer, ElicitResult) else None


# By a result


async def ask_for_a_name(_: Nothing, context: Ctx) -> Answer:
    """Ask the user for a name, then greet."""
    answer = form(context, "user_name")
    if answer is None:
        return asking(user_name=elicitation("What is your name?", NAME_SCHEMA))
    return say(f"Hello, {answer.get('name')}!")


async def ask_for_a_completion(_: Nothing, context: Ctx) -> Answer:
    """Ask the client's model, then repeat what it says."""
    answer = (context.input_responses or {}).get("capital_question")
    if not isinstance(answer, CreateMessageResult):
        return asking(capital_question=sampling("What is the capital of France?"))
    return say(f"Model said: {answer.content.text if isinstance(answer.content, TextContent) else answer.content}")


async def ask_for_roots(_: Nothing, context: Ctx) -> Answer:
    """Ask for the client's roots, then list them."""
    answer = (context.input_responses or {}).get("client_roots")
    if not isinstance(answer, ListRootsResult):
        return asking(client_roots=ListRootsRequest())
    return say("Roots: " + ", ".join(str(root.uri) for root in answer.roots))


async def ask_for_agreement(_: Nothing, context: Ctx) -> Answer:
    """Ask for agreement, and find the state again that went with the question."""
    if form(context, "confirm") is None or context.request_state != "asked":
        return asking("asked", confirm=elicitation("Please confirm", OK_SCHEMA))
    return say("state-ok: confirmed")


async def ask_for_sealed_agreement(_: Nothing, context: Ctx) -> Answer:
    """Ask for agreement with a state that nobody may change on the way."""
    if context.request_state is None:
        return asking("asked", confirm=elicitation("Please confirm", OK_SCHEMA))
    return say(f"state-ok: {context.request_state}")


async def ask_for_three_things(_: Nothing, context: Ctx) -> Answer:
    """Ask the user, the model and for the roots, all at once."""
    wanted: dict[str, InputRequest] = {
        "user_name": elicitation("What is your name?", NAME_SCHEMA),
        "greeting": sampling("Generate a greeting"),
        "client_roots": ListRootsRequest(),
    }
    if wanted.keys() <= (context.input_responses or {}).keys():
        return say("All three have answered.")
    return asking("asked", **wanted)


async def ask_for_two_things_in_turn(_: Nothing, context: Ctx) -> Answer:
    """Ask twice, one after the other; the state remembers the first answer."""
    state = json.loads(context.request_state or "{}")
    first, second = form(context, "step1"), form(context, "step2")
    if second is not None and "name" in state:
        return say(f"{state['name']} likes {second.get('color')}.")
    if first is not None:
        question = elicitation("Step 2: What is your favorite color?", COLOUR_SCHEMA)
        return asking(json.dumps({"name": first.get("name")}), step2=question)
    return asking(json.dumps({"round": 1}), step1=elicitation("Step 1: What is your name?", NAME_SCHEMA))


async def ask_for_what_is_possible(_: Nothing, context: Ctx) -> Answer:
    """Ask only what the client can answer."""
    capabilities = context.client_capabilities
    wanted: dict[str, InputRequest] = {}
    if capabilities and capabilities.sampling is not None:
        wanted["sample"] = sampling("Say hello")
    if capabilities and capabilities.elicitation is not None:
        wanted["ask"] = elicitation("What is your name?", NAME_SCHEMA)
    return asking("asked", **wanted)


async def streaming_elicitation(nothing: Nothing, context: Ctx) -> Answer:
    """Tell of progress, then ask the user for a name."""
    await context.report_progress(0, 1, "about to ask")
    return await ask_for_a_name(nothing, context)


# On the way, as clients before 2026 know it


async def sample(what: Prompt, context: Ctx) -> CallToolResult:
    """Have the client's model say something during the call."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=what.prompt))
    answer = await context.session.create_message([message], max_tokens=100, related_request_id=context.request_id)
    return say(f"LLM response: {answer.content.text if isinstance(answer.content, TextContent) else ''}")


async def _elicited(context: Ctx, message: str, schema: Json) -> CallToolResult:
    answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
    return say(f"User response: action={answer.action}, content={json.dumps(answer.content)}")


async def elicit(what: Message, context: Ctx) -> CallToolResult:
    """Have the user answer during the call."""
    return await _elicited(context, what.message, USER_SCHEMA)


async def elicit_defaults(_: Nothing, context: Ctx) -> CallToolResult:
    """Have the user fill in a form with a default of every type."""
    return await _elicited(context, "Please fill in", DEFAULTS_SCHEMA)


async def elicit_enums(_: Nothing, context: Ctx) -> CallToolResult:
    """Have the user choose from lists of every form."""
    return await _elicited(context, "Please choose", ENUMS_SCHEMA)


# And then a job


def _greeting_job(provide: Provide) -> JobTool:
    submit = submit_tool(GREETING, provide)

    async def call(_: Nothing, context: Ctx) -> Answer:
        """Ask the user for a name, then greet in a job."""
        answer = form(context, "user_name")
        if answer is None:
            return asking(user_name=elicitation("What is your name?", NAME_SCHEMA))
        submitted: CallToolResult = await submit.fn(submit.check({"name": answer.get("name")}), context)
        return submitted

    return fixture("test_tool_with_task", call, provide).model_copy(update={"submits": True})


def asking_tools(provide: Provide) -> Sequence[JobTool]:
    """Return the tools that ask."""
    plain: dict[str, Call] = {
        "test_input_required_result_elicitation": ask_for_a_name,
        "test_input_required_result_sampling": ask_for_a_completion,
        "test_input_required_result_list_roots": ask_for_roots,
        "test_input_required_result_request_state": ask_for_agreement,
        "test_input_required_result_tampered_state": ask_for_sealed_agreement,
        "test_input_required_result_multiple_inputs": ask_for_three_things,
        "test_input_required_result_multi_round": ask_for_two_things_in_turn,
        "test_input_required_result_capabilities": ask_for_what_is_possible,
        "test_streaming_elicitation": streaming_elicitation,
        "test_elicitation_sep1034_defaults": elicit_defaults,
        "test_elicitation_sep1330_enums": elicit_enums,
    }
    return [
        *(fixture(name, call, provide) for name, call in plain.items()),
        fixture("test_sampling", sample, provide, Prompt),
        fixture("test_elicitation", elicit, provide, Message),
        _greeting_job(provide),
    ]
