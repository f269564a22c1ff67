"""An assistant drives Backline over HTTP with tools, resources and prompts, in both eras of the protocol."""

from __future__ import annotations

import json
import math
import struct
import wave
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    PromptReference,
    ResourceLink,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from api.mcp.answers import BYTES_MAX
from deploy.stack import RunningStack
from shared.clock import new_id
from shared.errors import (
    InvalidRequest,
    JobFinished,
    JobNotFound,
    NothingToRetry,
    ScheduleNotFound,
)
from shared.jobs import known_kinds
from shared.model import Json
from tests.mcp_client import (
    ERAS,
    Door,
    call,
    connect,
    finished,
    refused,
    run,
    text_of,
)

TOOLS = {
    *(kind.tool_name for kind in known_kinds().values()), "list_job_kinds", "get_job", "wait_for_job",
    "get_job_items", "cancel_job", "retry_job", "answer_job", "list_jobs", "list_schedules", "add_schedule",
    "pause_schedule", "remove_schedule", "search_catalogue", "search_tracks", "find_similar", "build_playlist",
    "get_recommendations", "get_clusters", "get_analytics",
}  # fmt: skip

eras = pytest.mark.parametrize("era", ERAS)


# Tools


@eras
def test_every_tool_says_what_it_is_for(stack: RunningStack, era: str) -> None:
    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            assert client.protocol_version == ERAS[era]
            assert "wait_for_job" in (client.instructions or "")
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == TOOLS
            for tool in tools.values():
                assert tool.title
                assert len(tool.description or "") > 30
                # An analysis is answered with what it found, or with the job that will find it.
                assert tool.output_schema is not None or tool.name == "get_analytics"
                assert tool.annotations is not None
                assert tool.annotations.open_world_hint is False
                assert tool.input_schema["additionalProperties"] is False
            reads = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
            ends = {name for name, tool in tools.items() if tool.annotations and tool.annotations.destructive_hint}
            assert reads == {
                "list_job_kinds", "get_job", "wait_for_job", "get_job_items", "list_jobs", "list_schedules",
                "search_catalogue", "search_tracks", "find_similar", "build_playlist", "get_recommendations",
                "get_clusters",
            }  # fmt: skip
            assert ends == {"answer_job", "cancel_job", "remove_schedule"}
            assert {"paths", "tracks", "effort"} < set(tools["extract_audio_features"].input_schema["properties"])
            kinds = (await call(client, "list_job_kinds"))["kinds"]
            assert {kind["tool"] for kind in kinds} < TOOLS

    run(steps)


@eras
def test_a_job_is_submitted_followed_read_and_retried(stack: RunningStack, http: httpx.Client, era: str) -> None:
    told: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert message
        told.append((progress, total))

    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            submitted = await client.call_tool(
                "submit_squares", {"userId": era, "items": 30, "seconds": 0.05, "fails": [3]}
            )
            job = submitted.structured_content or {}
            job_id = job["id"]
            links = [block.uri for block in submitted.content if isinstance(block, ResourceLink)]
            assert links == [f"job://{job_id}", f"job://{job_id}/items"]
            assert (job["kind"], job["userId"]) == ("squares", era)
            assert job_id in text_of(submitted.content)

            waited = await client.call_tool(
                "wait_for_job", {"jobId": job_id, "timeout": 50}, progress_callback=on_progress
            )
            assert (waited.structured_content or {})["status"] == "partial"
            assert "get_job_items" in text_of(waited.content)
            assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
            assert told[0][0] < 30

            job = await call(client, "get_job", jobId=job_id)
            assert (job["progress"]["succeeded"], job["progress"]["failed"]) == (29, 1)
            assert http.get(f"/api/jobs/{job_id}").json()["status"] == "partial"

            failed = await client.call_tool("get_job_items", {"jobId": job_id, "status": ["failed"]})
            page = failed.structured_content or {}
            assert [(item["index"], item["error"]["code"]) for item in page["items"]] == [(3, "odd_number")]
            assert "3 failed number=3 odd_number: 3 was asked to fail." in text_of(failed.content)
            first = await call(client, "get_job_items", jobId=job_id, limit=7)
            second = await call(client, "get_job_items", jobId=job_id, limit=7, after=first["nextCursor"])
            assert [item["index"] for item in first["items"] + second["items"]] == list(range(14))

            listed = await call(client, "list_jobs", userId=era, kind="squares", status=["partial"], limit=5)
            assert job_id in [one["id"] for one in listed["jobs"]]

            again = await call(client, "retry_job", jobId=job_id)
            assert (again["id"], again["epoch"]) == (job_id, 1)
            assert (await finished(client, job_id))["status"] == "partial"

    run(steps)


@eras
def test_a_job_is_cancelled(stack: RunningStack, era: str) -> None:
    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            job_id = (await call(client, "submit_squares", items=5000, seconds=0.1))["id"]
            cancelled = await call(client, "cancel_job", jobId=job_id)
            assert cancelled["cancelRequestedAt"] is not None
            assert (await finished(client, job_id))["status"] == "cancelled"

    run(steps)


@eras
def test_schedules_are_added_listed_paused_and_removed(stack: RunningStack, era: str) -> None:
    async def steps() -> None:
        name = f"nightly-{era}"
        async with connect(Door(stack.url, stack.key), era) as client:
            request = {"userId": era, "items": 1}
            added = await call(client, "add_schedule", name=name, kind="squares", request=request, cron="0 2 * * *")
            assert (added["name"], added["paused"], added["request"]) == (name, False, request)
            assert (await call(client, "pause_schedule", name=name))["paused"] is True
            listed = await client.call_tool("list_schedules", {})
            assert f"Schedule {name}: squares, cron '0 2 * * *' (UTC), paused." in text_of(listed.content)
            assert (await call(client, "pause_schedule", name=name, paused=False))["paused"] is False
            twice = await refused(client, "add_schedule", name=name, kind="squares", request=request, cron="0 2 * * *")
            assert twice["code"] == "schedule_exists"
            assert await call(client, "remove_schedule", name=name) == {"name": name}
            assert (await refused(client, "remove_schedule", name=name))["code"] == ScheduleNotFound.code
            wrong = await refused(client, "add_schedule", name="x", kind="squares", request=request, cron="often")
            assert wrong["code"] == "invalid_schedule"

    run(steps)


@eras
def test_what_goes_wrong_is_said_in_the_words_of_the_rest_api(
    stack: RunningStack, http: httpx.Client, era: str
) -> None:
    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            for tool in ("get_job", "wait_for_job", "get_job_items", "cancel_job", "retry_job"):
                unknown = await refused(client, tool, jobId="job_nowhere")
                assert (unknown["code"], unknown["advice"]) == (JobNotFound.code, JobNotFound.advice)

            job_id = (await call(client, "submit_squares", items=1))["id"]
            await finished(client, job_id)
            assert (await refused(client, "cancel_job", jobId=job_id))["code"] == JobFinished.code
            assert (await refused(client, "retry_job", jobId=job_id))["code"] == NothingToRetry.code
            assert (await refused(client, "get_job_items", jobId=job_id, after="x"))["code"] == "invalid_cursor"

            wrong = await refused(client, "submit_squares", items="many", colour="red")
            over_http = http.post("/api/jobs/squares", json={"items": "many", "colour": "red"}).json()
            assert wrong["code"] == over_http["code"] == InvalidRequest.code
            assert (wrong["detail"], wrong["errors"]) == (over_http["detail"], over_http["errors"])
            late = await refused(client, "wait_for_job", jobId=job_id, timeout=51)
            assert [one["field"] for one in late["errors"]] == ["timeout"]
            assert (await refused(client, "get_job"))["errors"] == [{"field": "jobId", "message": "Field required"}]
            assert "Unknown tool" in text_of((await client.call_tool("dance", {})).content)

    run(steps)


def test_arguments_may_come_as_json_text_or_null_and_a_key_gives_the_same_job_again(stack: RunningStack) -> None:
    async def steps() -> None:
        key = new_id("key")
        async with connect(Door(stack.url, stack.key)) as client:
            first = await call(client, "submit_squares", items=4, fails="[1, 2]", idempotencyKey=key)
            again = await call(client, "submit_squares", items=4, fails=[1, 2], idempotencyKey=key)
            assert again["id"] == first["id"]
            other = await refused(client, "submit_squares", items=5, idempotencyKey=key)
            assert other["code"] == "idempotency_conflict"
            assert (await refused(client, "submit_squares", items=5, idempotencyKey=""))["code"] == "invalid_request"
            await finished(client, first["id"])
            page = await call(client, "get_job_items", jobId=first["id"], status='["failed"]', after=None)
            assert [item["index"] for item in page["items"]] == [1, 2]

    run(steps)


def test_a_long_page_is_cut_to_what_a_client_can_take(stack: RunningStack) -> None:
    async def steps() -> None:
        async with connect(Door(stack.url, stack.key)) as client:
            job_id = (await call(client, "submit_squares", items=200, raises=list(range(200))))["id"]
            assert (await finished(client, job_id))["status"] == "failed"
            seen: list[int] = []
            cursor: str | None = None
            while not seen or cursor is not None:
                page = await call(client, "get_job_items", jobId=job_id, limit=200, after=cursor)
                assert len(json.dumps(page["items"])) <= BYTES_MAX * 1.1
                assert 0 < len(page["items"]) < 200
                seen += [item["index"] for item in page["items"]]
                cursor = page["nextCursor"]
            assert seen == list(range(200))

    run(steps)


@eras
def test_a_wait_that_is_abandoned_leaves_the_job_alone(stack: RunningStack, era: str) -> None:
    async def steps() -> None:
        waiting = anyio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            waiting.set()

        async with connect(Door(stack.url, stack.key), era) as client:
            job_id = (await call(client, "submit_squares", items=60, seconds=0.05))["id"]
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    await client.call_tool(
                        "wait_for_job", {"jobId": job_id, "timeout": 50}, progress_callback=on_progress
                    )

                tasks.start_soon(wait)
                await waiting.wait()
                tasks.cancel_scope.cancel()
        async with connect(Door(stack.url, stack.key), era) as client:
            assert (await finished(client, job_id))["status"] == "succeeded"

    run(steps)


# Resources, prompts, completion


def test_the_features_of_a_track_are_extracted_and_read(stack: RunningStack, music_root: Path) -> None:
    with wave.open(str(music_root / "mcp.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        swell = (int(9000 * math.sin(n / 6) * (1 - n % 4000 / 4000)) for n in range(32_000))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in swell))
    track, uri = "a/b c", "features://a%2Fb%20c?userId=mcp"
    file_of_track = {"trackId": track, "path": str(music_root / "mcp.wav")}

    async def steps() -> None:
        async with connect(Door(stack.url, stack.key)) as client:
            job_id = (
                await call(client, "extract_audio_features", userId="mcp", tracks=[file_of_track], effort="quick")
            )["id"]
            job = await finished(client, job_id)
            assert (job["status"], job["summary"]["libraryTracks"]) == ("succeeded", 1)
            contents = (await client.read_resource(uri)).contents
            assert isinstance(contents[0], TextResourceContents)
            features = json.loads(contents[0].text)
            assert (features["trackId"], features["duration_ms"]) == (track, 4000)
            assert features["provenance"]["effort"] == "quick"
            template = ResourceTemplateReference(type="ref/resource", uri="features://{trackId}{?userId}")
            known = await client.complete(template, {"name": "trackId", "value": "a/"}, {"userId": "mcp"})
            assert known.completion.values == [track]
            items = await client.call_tool("get_job_items", {"jobId": job_id})
            assert f"trackId={track}" in text_of(items.content)

    run(steps)


@eras
def test_resources_are_found_by_template_and_read(stack: RunningStack, era: str) -> None:
    async def read(client: Client, uri: str) -> Json:
        contents = (await client.read_resource(uri)).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].mime_type == "application/json"
        document: Json = json.loads(contents[0].text)
        return document

    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            templates = {one.uri_template for one in (await client.list_resource_templates()).resource_templates}
            assert templates == {
                "job://{id}",
                "job://{id}/items{?after}",
                "kind://{name}",
                "features://{trackId}{?userId}",
                "artifact://{id}",
            }
            job_id = (await call(client, "submit_squares", items=3))["id"]
            await finished(client, job_id)
            assert (await read(client, f"job://{job_id}"))["request"] == {"items": 3}
            assert len((await read(client, f"job://{job_id}/items"))["items"]) == 3
            cursor = (await call(client, "get_job_items", jobId=job_id, limit=2))["nextCursor"]
            assert (await read(client, f"job://{job_id}/items?after={cursor}"))["items"][0]["index"] == 2
            assert "items" in (await read(client, "kind://squares"))["requestSchema"]["properties"]
            for uri in ("job://nowhere", "job://nowhere/items", "kind://none", "features://none", "other://x"):
                with pytest.raises(MCPError) as caught:
                    await client.read_resource(uri)
                assert caught.value.code == INVALID_PARAMS

    run(steps)


@eras
def test_prompts_begin_a_conversation_and_names_are_completed(stack: RunningStack, era: str) -> None:
    async def steps() -> None:
        async with connect(Door(stack.url, stack.key), era) as client:
            prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
            assert prompts == {"analyse_my_library", "why_did_this_job_fail", "check_my_database"}
            job_id = (await call(client, "submit_noop", items=1))["id"]
            shown = await client.get_prompt("why_did_this_job_fail", {"jobId": job_id})
            assert isinstance(shown.messages[0].content, TextContent)
            assert job_id in shown.messages[0].content.text
            assert (await client.get_prompt("analyse_my_library", {"path": "/m"})).messages
            assert (await client.get_prompt("check_my_database")).messages

            async def complete(ref: PromptReference | ResourceTemplateReference, name: str, value: str) -> list[str]:
                return (await client.complete(ref, {"name": name, "value": value})).completion.values

            prompt = PromptReference(type="ref/prompt", name="why_did_this_job_fail")
            assert job_id in await complete(prompt, "jobId", job_id[:-2])
            kinds = ResourceTemplateReference(type="ref/resource", uri="kind://{name}")
            assert await complete(kinds, "name", "sq") == ["squares"]
            tracks = ResourceTemplateReference(type="ref/resource", uri="features://{trackId}{?userId}")
            assert await complete(tracks, "trackId", "no such") == []
            assert await complete(tracks, "userId", "") == []

    run(steps)
