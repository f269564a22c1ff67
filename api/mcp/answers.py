"""What the tools answer: a few lines for the model, the document for programs, links for the rest; never much."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

from mcp_types import CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel

from api.documents import ItemPage, Job, JobItem, JobPage, Kind, ScheduleDocument
from shared.model import Json
from shared.playlists import Playlist, PlaylistTrack
from shared.search import Hit, SearchAnswer, Why
from shared.store.job_record import JobStatus

BYTES_MAX = 24_000
"""How much JSON one answer may hold: some 8,000 tokens, which every client takes without cutting it off."""
SUMMARY_BYTES_MAX = 4_000
SUMMARY_TEXT_MAX = 800  # characters of a job's summary in words
LINE_MAX = 240  # characters of one item in words
JSON = "application/json"
SHOWN_ATTRIBUTES = ("type", "year", "episodes", "score", "tempo", "energy", "valence")
"""What a line says of a hit; the document has the rest."""

T = TypeVar("T")


def job_uri(job_id: str) -> str:
    """Return the resource that a job is."""
    return f"job://{quote(job_id, safe='')}"


def items_uri(job_id: str) -> str:
    """Return the resource that a job's items are."""
    return f"{job_uri(job_id)}/items"


def artifact_uri(artifact_id: str) -> str:
    """Return the resource that an artifact is."""
    return f"artifact://{artifact_id}"


def kind_uri(name: str) -> str:
    """Return the resource that a kind of job is."""
    return f"kind://{name}"


def answer(text: str, document: BaseModel, links: Sequence[ResourceLink] = ()) -> CallToolResult:
    """Return a result: words, links, and the document."""
    content: list[ContentBlock] = [TextContent(type="text", text=text), *links]
    return CallToolResult(content=content, structured_content=document.model_dump(mode="json", by_alias=True))


def bytes_of(document: BaseModel) -> int:
    """Return how long a document is as JSON."""
    return len(document.model_dump_json(by_alias=True).encode())


# Jobs


def job_answer(job: Job, text: str | None = None) -> CallToolResult:
    """Return how a job stands."""
    links = [
        ResourceLink(type="resource_link", uri=job_uri(job.id), name=job.id, title="The job", mime_type=JSON),
        ResourceLink(
            type="resource_link", uri=items_uri(job.id), name=f"{job.id} items", title="Its items", mime_type=JSON
        ),
        *_files(job),
    ]
    return answer(text or job_in_words(job), slim(job), links)


def _files(job: Job) -> list[ResourceLink]:
    """Return links to the files that a job has made: what they hold never passes through an answer."""
    files = (job.summary or {}).get("files", ())
    return [
        ResourceLink(
            type="resource_link",
            uri=artifact_uri(file["artifactId"]),
            name=file["filename"],
            title=f"{file['name']}: where to download it",
            description=f"{file['size']:,} bytes, {file['contentType']}, until {file['expiresAt']}",
            mime_type=JSON,
        )
        for file in files
        if "artifactId" in file
    ]


def ended_answer(job: Job) -> CallToolResult:
    """Return what a finished job has yielded; one in which nothing is good counts as an error."""
    result = job_answer(job)
    return result.model_copy(update={"is_error": job.status is JobStatus.FAILED})


def slim(job: Job) -> Job:
    """Return a job without a summary that is too long to be handed around."""
    if job.summary is None or len(json.dumps(job.summary)) <= SUMMARY_BYTES_MAX:
        return job
    return job.model_copy(update={"summary": None})


def job_in_words(job: Job) -> str:
    """Return how a job stands and what to do next."""
    return " ".join(part for part in (job_line(job), _problem(job), _summary(job), _next_step(job)) if part)


def job_line(job: Job) -> str:
    """Return how a job stands in one sentence."""
    progress = job.progress
    total = f"{progress.total}" if progress.total_is_exact else f"at least {progress.total}"
    state = "ended" if job.status.is_final else "is"
    counts = f"{progress.done} of {total} items done"
    notable = {"failed": progress.failed, "known already": progress.cached, "cancelled": progress.cancelled}
    parts = [counts, *(f"{count} {name}" for name, count in notable.items() if count)]
    if progress.eta_seconds is not None:
        parts.append(f"about {progress.eta_seconds:.0f} s left")
    return f"Job {job.id} ({job.kind}) {state} {job.status.value}: {', '.join(parts)}."


def _problem(job: Job) -> str:
    return f"{job.error.code}: {job.error.message}" if job.error else ""


def _summary(job: Job) -> str:
    if job.summary is None:
        return ""
    text = json.dumps(job.summary, ensure_ascii=False, separators=(",", ":"))
    return f"Summary: {text}" if len(text) <= SUMMARY_TEXT_MAX else f"Its summary is long: read {job_uri(job.id)}."


def _next_step(job: Job) -> str:
    if not job.status.is_final:
        return f"Call wait_for_job with jobId {job.id} to wait for its end."
    if job.progress.failed:
        return 'Call get_job_items with status ["failed"] for the reasons.'
    return "Call get_job_items for what each item yielded." if job.progress.done else ""


def job_page_answer(page: JobPage) -> CallToolResult:
    """Return some jobs, a line each."""
    lines = [job_line(job) for job in page.jobs] or ["There are no such jobs."]
    return answer("\n".join([*lines, *_more(page.next_cursor)]), page)


# Items


def item_page_answer(page: ItemPage) -> CallToolResult:
    """Return some items, a line each."""
    lines = [_item_line(item) for item in page.items]
    if not lines:
        lines = ["There are no such items." if page.next_cursor is None else "No further item is done yet."]
    return answer("\n".join([*lines, *_more(page.next_cursor, is_running=not page.job_status.is_final)]), page)


def _item_line(item: JobItem) -> str:
    known = {name: value for name, value in item.item.items() if value is not None}
    said = f"{item.error.code}: {item.error.message}" if item.error else _brief(item.result or {})
    line = f"{item.index} {item.status.value} {_brief(known)} {said}".rstrip()
    return line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]} …"


def _brief(values: Json) -> str:
    """Return the plain values of a document."""
    return " ".join(f"{name}={value}" for name, value in values.items() if isinstance(value, str | int | float))


def _more(cursor: str | None, *, is_running: bool = False) -> list[str]:
    if cursor is None:
        return []
    return [f'Give after="{cursor}" for the next page{", a little later where this one is short" * is_running}.']


def fitting(read: Callable[[int], T], limit: int, parts: Callable[[T], Sequence[BaseModel]]) -> T:
    """Return the page that `read` gives for up to `limit` parts, or a shorter one that is not too long.

    A page has at least one part, however long that is.
    """
    page = read(limit)
    total = 0
    for place, part in enumerate(parts(page)):
        total += bytes_of(part)
        if total > BYTES_MAX:
            return read(max(place, 1))
    return page


def without_long_results(page: ItemPage) -> ItemPage:
    """Return a page whose results are left out where a single item is too long for an answer."""
    items = tuple(
        item.model_copy(update={"result": None}) if bytes_of(item) > BYTES_MAX else item for item in page.items
    )
    return page.model_copy(update={"items": items})


# Kinds and schedules


def kind_line(kind: Kind, tool: str) -> str:
    """Return what a kind is for."""
    return f"{kind.name}: {kind.title}. {kind.description} Submit one with {tool}."


def schedule_line(schedule: ScheduleDocument) -> str:
    """Return what a schedule does, and when next."""
    timing = f"cron {schedule.cron!r} ({schedule.timezone})" if schedule.cron else f"every {schedule.every_seconds:g} s"
    when = "paused" if schedule.paused else f"next at {schedule.next_at.isoformat()}"
    error = f" Last time: {schedule.last_error.code}: {schedule.last_error.message}" if schedule.last_error else ""
    return f"Schedule {schedule.name}: {schedule.kind}, {timing}, {when}.{error}"


# Search


def search_answer(found: SearchAnswer) -> CallToolResult:
    """Return some hits, a line each."""
    lines = [_hit_line(hit) for hit in found.hits] or ["Nothing was found."]
    if found.next_cursor is not None:
        lines.append(f'Give cursor="{found.next_cursor}" with all else unchanged for the next page.')
    return answer("\n".join(lines), found)


def _hit_line(hit: Hit) -> str:
    named = f"itemId {hit.item_id}" if hit.item_id is not None else f"trackId {hit.track_id} of user {hit.user_id}"
    line = f"{hit.title or '(no title)'} ({named}): {_attributes(hit.attributes)}; {why_in_words(hit.why)}"
    return line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]} …"


def _attributes(attributes: Json) -> str:
    plain = {name: value for name, value in attributes.items() if name in SHOWN_ATTRIBUTES}
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in plain.items()}
    return _brief(shown) or "nothing else is known"


def why_in_words(why: Why) -> str:
    """Return why something was found."""
    words = [f"{one.asked} in {one.field}" for one in why.matches[:3]]
    words += [f"{name} no. {part.rank}" for name, part in why.parts.items()]
    words += [f"near in {one.feature} ({one.value:.4g})" for one in why.features]
    return ", ".join(words)


def playlist_answer(playlist: Playlist) -> CallToolResult:
    """Return a playlist, a line each track; of one that is too long, its beginning."""
    shown = _beginning(playlist)
    lines = [_playlist_line(place, track) for place, track in enumerate(shown.tracks, start=1)]
    return answer("\n".join([*lines, *shown.notes]), shown)


def _playlist_line(place: int, track: PlaylistTrack) -> str:
    by = f" by {', '.join(track.artists)}" if track.artists else ""
    line = f"{place}. {track.title or '(no title)'}{by} (trackId {track.track_id}): {track.why}"
    return line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]} …"


def _beginning(playlist: Playlist) -> Playlist:
    total = 0
    for place, track in enumerate(playlist.tracks):
        total += bytes_of(track)
        if total > BYTES_MAX and place > 0:
            note = f"Only the first {place} of {len(playlist.tracks)} tracks are shown: ask for a shorter playlist."
            return playlist.model_copy(update={"tracks": playlist.tracks[:place], "notes": (*playlist.notes, note)})
    return playlist
