"""The server that assistants talk to, built from the registry of job kinds; it knows no transport."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from mcp.server.mcpserver import MCPServer

from api.mcp import completion, prompts, resources
from api.mcp.additions import Additions
from api.mcp.analytics import analytics_tools
from api.mcp.jobs import job_tools, submit_tool
from api.mcp.questions import Questions
from api.mcp.recommendations import taste_tools
from api.mcp.schedules import schedule_tools
from api.mcp.search import search_tools
from api.mcp.tasks import Tasks
from api.mcp.tool import JobTool, Provide
from shared.jobs.job import JobKind

INSTRUCTIONS = """Backline does heavy work on music and media in the background.
1. Submit a job with the tool of its kind (list_job_kinds names them); it answers at once with a job id.
2. Follow it with wait_for_job, again and again if need be: the job goes on whether or not anybody waits.
3. Read what came out: the summary of the job, get_job_items for each item, features://{trackId} for a track.
Find things with search_catalogue, search_tracks and find_similar; a job of the kind vector_index renews what they see.
Where items failed, read them with get_job_items and status ["failed"]; retry_job tries only those again.
Paths are those of the machine that does the work. Errors begin with a stable code and say what to do."""


def all_tools(kinds: Sequence[JobKind], provide: Provide, additions: Additions) -> list[JobTool]:
    """Return every tool; each asks `provide` for the parts of the running process when it is called."""
    return [
        *(submit_tool(kind, provide) for kind in kinds),
        *job_tools(kinds, provide),
        *schedule_tools(provide),
        *analytics_tools(provide),
        *search_tools(provide),
        *taste_tools(provide),
        *additions.tools(provide),
    ]


def create_server(tools: Sequence[JobTool], provide: Provide, additions: Additions) -> MCPServer[Any]:
    """Return the server that offers these tools, and the resources, prompts and completions beside them."""
    with _logging_untouched():
        server: MCPServer[Any] = MCPServer(
            name="backline",
            title="Backline",
            description="Heavy work in batches for music and media assistants",
            instructions=INSTRUCTIONS,
            version=version("backline"),
            tools=[*tools],
            extensions=[Tasks([tool.name for tool in tools if tool.submits], provide, additions.inputs or Questions())],
            subscriptions=False,  # what it offers never changes while it runs
        )
    resources.install(server, provide)
    prompts.install(server)
    completion.install(server, provide)
    additions.install(server, provide)
    return server


@contextmanager
def _logging_untouched() -> Iterator[None]:
    """Keep the SDK from setting up the log of the whole process, which is not its own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
