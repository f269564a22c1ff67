"""What both ends of the HTTP door must know of it, without the weight of the SDK."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from shared.errors import BacklineError

PATH = "/mcp"

VERSION_HEADER = "MCP-Protocol-Version"
METHOD_HEADER = "Mcp-Method"
NAME_HEADER = "Mcp-Name"

TASK_METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
NAMES: Mapping[str, str] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(TASK_METHODS, "taskId"),
}
"""Which parameter of a method stands in the header that proxies route by."""

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
"""Where a request says, since 2026-07-28, which version of the protocol it speaks."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603


def header_value(text: str) -> str:
    """Return a text as it stands in a header: as it is, or in Base64 where a header could not hold it."""
    is_plain = text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?")
    return text if is_plain else f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def in_words(error: BacklineError) -> str:
    """Return an error as one line for a model or a person."""
    return f"{error.code}: {error.message} {error.advice}".strip()
