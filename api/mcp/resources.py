"""What can be read by address: a job, its items, a kind of job, the features of a track."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import to_thread
from mcp.server.mcpserver import MCPServer, ResourceSecurity
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from pydantic_core import to_json

from api.access import visit
from api.documents import job_document_with_request, kind_document
from api.mcp.answers import BYTES_MAX, JSON
from api.mcp.jobs import ITEMS_MAX, WhichItems, items_page
from api.mcp.tool import Provide, checked
from api.mcp.wire import in_words
from api.problems import explained
from shared.access import Scope
from shared.errors import ArtifactNotFound, BacklineError, InvalidRequest, JobNotFound, UnknownJobKind
from shared.jobs import get_kind
from shared.jobs.data_export import described
from shared.jobs.job import JobRequest
from shared.model import Json
from shared.store import artifacts, audio_features, jobs
from shared.store.database import library

NOT_FOUND = (ArtifactNotFound, JobNotFound, UnknownJobKind, InvalidRequest)
USER = str(JobRequest.model_fields["user_id"].default)


class TrackNotFound(BacklineError):
    """This user has no features of this track."""

    code = "track_not_found"
    advice = "Submit an audio_features job for its file first; userId says whose features are meant."


def install(server: MCPServer[Any], provide: Provide) -> None:
    """Let the resources be read."""

    def owner() -> str:
        return visit.principal(Scope.JOBS_READ).owner

    async def answered(uri: str, read: Callable[[], Json]) -> str:
        """Return what `read`, in a thread, finds, as JSON of bounded length."""
        try:
            owner()  # whatever it is, it is for those alone who may read
            return await to_thread.run_sync(lambda: bounded(read()))
        except Exception as error:  # the request's boundary: `explained` logs what nobody foresaw
            meaning = explained(error, provide().connection, where=f"The resource {uri}")
            is_missing = isinstance(meaning, (*NOT_FOUND, TrackNotFound))
            raise (ResourceNotFoundError if is_missing else ResourceError)(in_words(meaning)) from error

    def resource(template: str, *, name: str, title: str, description: str) -> Callable[[Any], Any]:
        # None of the parameters is a path on any disk, so they may look as they like.
        security = ResourceSecurity(exempt_params={"id", "name", "trackId", "userId", "after"})
        return server.resource(
            template, name=name, title=title, description=description, mime_type=JSON, security=security
        )

    @resource("job://{id}", name="job", title="A job", description="How a job stands, with what was asked for")
    async def job(id: str) -> str:  # noqa: A002 - the template's name for it
        return await answered(
            f"job://{id}",
            lambda: job_document_with_request(jobs.get_owned(provide().connection.db, owner(), id)).to_json(),
        )

    @resource(
        "job://{id}/items{?after}",
        name="job_items",
        title="A job's items",
        description="What became of the items of a job, a page at a time; nextCursor is the `after` of the next page",
    )
    async def items(id: str, after: str | None = None) -> str:  # noqa: A002
        def read() -> Json:
            which = checked(WhichItems, {"jobId": id, "after": after, "limit": ITEMS_MAX})
            assert isinstance(which, WhichItems)
            return items_page(provide, which).to_json()

        return await answered(f"job://{id}/items", read)

    @resource(
        "artifact://{id}",
        name="artifact",
        title="A file to download",
        description="What a file of an export is and where it is downloaded over HTTP, never what it holds",
    )
    async def artifact(id: str) -> str:  # noqa: A002
        def read() -> Json:
            services = provide()
            visit.principal(Scope.DATABASE)
            found = artifacts.get(library(services.connection.db, owner()), id)
            base = (services.settings.public_url or "").rstrip("/")
            return {**described(found).to_json(), "download": f"{base}/api/artifacts/{found.id}"}

        return await answered(f"artifact://{id}", read)

    @resource(
        "kind://{name}",
        name="kind",
        title="A kind of job",
        description="The JSON Schemas of what a kind of job takes and yields",
    )
    async def kind(name: str) -> str:
        return await answered(f"kind://{name}", lambda: kind_document(get_kind(name)).to_json())

    @resource(
        "features://{trackId}{?userId}",
        name="features",
        title="A track's features",
        description="Tempo, key, loudness and more of one track, with the confidence and the origin of each value;"
        f" userId says whose, else {USER}",
    )
    async def features(trackId: str, userId: str = USER) -> str:  # noqa: N803 - the template's names
        def read() -> Json:
            found = audio_features.find_track(library(provide().connection.db, owner()), userId, trackId)
            if found is None:
                raise TrackNotFound(f"{userId} has no features of the track {trackId!r}.")
            return found

        return await answered(f"features://{trackId}", read)


def bounded(document: Json) -> str:
    """Return a document as JSON, without the fields that would make it too long: `omitted` names them."""
    text = to_json(document, indent=2).decode()
    if len(text) <= BYTES_MAX:
        return text
    sizes = {name: len(to_json(value)) for name, value in document.items()}
    omitted: list[str] = []
    while sum(sizes.values()) > BYTES_MAX // 2 and sizes:
        omitted.append(max(sizes, key=sizes.__getitem__))
        del sizes[omitted[-1]]
    kept = {name: value for name, value in document.items() if name in sizes}
    return to_json({**kept, "omitted": omitted}, indent=2).decode()
