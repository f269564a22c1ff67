"""What a person may mean who has typed the beginning of an id or a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anyio import to_thread
from mcp.server.mcpserver import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from api.access import visit
from api.mcp.resources import USER
from api.mcp.tool import Provide
from shared.access import Scope
from shared.errors import BacklineError
from shared.jobs import known_kinds
from shared.model import Db
from shared.store import audio_features, jobs
from shared.store.database import StoreError, library

VALUES_MAX = 100  # the protocol's own limit
JOBS_MAX = 500  # the latest jobs, among which an id is looked for

Reference = PromptReference | ResourceTemplateReference
Find = Callable[[Db, str, Mapping[str, str]], list[str]]


def _owner() -> str:
    return visit.principal(Scope.JOBS_READ).owner


def _job_ids(db: Db, prefix: str, _: Mapping[str, str]) -> list[str]:
    found, _cursor = jobs.page(db, owner=_owner(), limit=JOBS_MAX)
    return [job.id for job in found if job.id.startswith(prefix)]


def _kinds(_: Db, prefix: str, __: Mapping[str, str]) -> list[str]:
    return [name for name in known_kinds() if name.startswith(prefix)]


def _track_ids(db: Db, prefix: str, chosen: Mapping[str, str]) -> list[str]:
    return audio_features.find_track_ids(
        library(db, _owner()), chosen.get("userId", USER), prefix, limit=VALUES_MAX + 1
    )


FINDS: Mapping[tuple[str, str], Find] = {
    ("job://{id}", "id"): _job_ids,
    ("job://{id}/items{?after}", "id"): _job_ids,
    ("why_did_this_job_fail", "jobId"): _job_ids,
    ("kind://{name}", "name"): _kinds,
    ("features://{trackId}{?userId}", "trackId"): _track_ids,
}


def install(server: MCPServer[Any], provide: Provide) -> None:
    """Complete ids of jobs and tracks, and names of kinds."""

    @server.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # the SDK leaves it bare
    async def complete(
        reference: Reference, argument: CompletionArgument, context: CompletionContext | None
    ) -> Completion | None:
        name = reference.name if isinstance(reference, PromptReference) else reference.uri
        find = FINDS.get((name, argument.name))
        if find is None:
            return None
        chosen = (context.arguments if context else None) or {}
        try:
            found = await to_thread.run_sync(find, provide().connection.db, argument.value, chosen)
        except StoreError as error:
            provide().connection.note(error)
            return None
        except BacklineError:
            return None  # nobody waits for a completion
        return Completion(values=found[:VALUES_MAX], total=None, has_more=len(found) > VALUES_MAX)
