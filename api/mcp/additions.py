"""What an application of your own offers to assistants beside Backline's tools, on the same jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import MCPServer

from api.mcp.tasks import Inputs
from api.mcp.tool import JobTool, Provide


def _no_tools(_: Provide) -> Sequence[JobTool]:
    return ()


def _nothing(_: MCPServer[Any], __: Provide) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Additions:
    """Handed to `create_app`, by a factory of your own: ``uvicorn your.module:create_app --factory``."""

    tools: Callable[[Provide], Sequence[JobTool]] = _no_tools
    """Makes further tools, with `api.mcp.tool.tool` or `api.mcp.jobs.submit_tool`."""
    install: Callable[[MCPServer[Any], Provide], None] = _nothing
    """Adds resources and prompts."""
    inputs: Inputs | None = None
    """Where jobs ask and are answered, in place of Backline's own collection of questions."""
    sessions: bool = False
    """Whether clients that speak a protocol before 2026-07-28 get a session, so that tools can ask them something
    during a call. It ties each of them to the process that it met first: one API process, or a sticky balancer."""
