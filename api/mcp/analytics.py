"""The tool that says what a library is like."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from api import analytics as routes
from api.access import visit
from api.documents import job_document
from api.mcp.answers import job_answer
from api.mcp.resources import bounded
from api.mcp.tool import ADDS, JobTool, Provide, tool
from shared.access import Scope
from shared.analytics import Analysis
from shared.model import Body
from shared.periods import Granularity

WAIT_SECONDS = 30


class Wanted(Body):
    """What to analyse."""

    type: str = Field(max_length=40, description=", ".join(Analysis))
    timeframe: str = Field(default="30d", max_length=20, description="1d to 365d, or all")
    granularity: str = Field(default="day", max_length=20, description=", ".join(Granularity))
    user_id: str | None = Field(default=None, min_length=1, max_length=256, description="Only this user's listening")


def analytics_tools(provide: Provide) -> list[JobTool]:
    """Return the tools of analytics."""

    async def get_analytics(wanted: Wanted, _: Context[Any, Any]) -> CallToolResult:
        services, who = provide(), visit.principal(Scope.DATABASE)
        request = routes.request_of(wanted.type, wanted.timeframe, wanted.granularity, wanted.user_id)
        found = await routes.answer(services, who, request, WAIT_SECONDS)
        if isinstance(found, routes.Analytics):
            return CallToolResult(content=[TextContent(type="text", text=bounded(found.analytics))])
        return job_answer(job_document(found))

    return [
        tool(
            get_analytics,
            name="get_analytics",
            title="Analyse the library",
            description="Listening trends with a forecast, moods, genres, or how right recommendations were, over a"
            " timeframe and beside the one before. A large library takes a job: call again when it has ended.",
            annotations=ADDS,
            arguments=Wanted,
            output=None,
            provide=provide,
            scope=Scope.DATABASE,
        )
    ]
