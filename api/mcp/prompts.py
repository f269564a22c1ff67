"""Ready-made beginnings of the three commonest conversations."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from pydantic import Field

FOLLOW = "Then call wait_for_job until it has ended, telling me now and then how far it is."


def install(server: MCPServer[Any]) -> None:
    """Offer the prompts."""

    @server.prompt(
        name="analyse_my_library",
        title="Analyse my music library",
        description="Have a folder of music analysed and tell what came out",
    )
    def analyse_my_library(
        path: Annotated[str, Field(description="The folder, as the machine that does the work sees it")],
        userId: Annotated[str, Field(description="Whose library it is")] = "local",  # noqa: N803 - as in every request
    ) -> str:
        return (
            f"Analyse the music in {path!r} for the user {userId!r} with extract_audio_features. {FOLLOW}"
            " When it has ended, sum up the library: how many tracks, what was known already, typical tempo, energy"
            " and mood, and what stands out. If some tracks failed, group them by reason (get_job_items with status"
            ' ["failed"]) and say what I can do about each.'
        )

    @server.prompt(
        name="why_did_this_job_fail",
        title="Why did this job fail?",
        description="Find out what went wrong in a job, and what to do about it",
    )
    def why_did_this_job_fail(jobId: Annotated[str, Field(description="The job's id")]) -> str:  # noqa: N803
        return (
            f"Find out why the job {jobId!r} failed, wholly or in part. Look at it with get_job; if it has an error of"
            ' its own, explain that. Then read its failed items with get_job_items and status ["failed"], page by page,'
            " and group them by code. Say for each group what it means and what I can do. Offer retry_job where the"
            " cause can be put right; do not call it before I agree."
        )

    @server.prompt(
        name="check_my_database",
        title="Check my database",
        description="Have the stored data checked and tell what is wrong with it",
    )
    def check_my_database() -> str:
        return (
            "Check the database that my jobs write to. Call list_job_kinds and choose the kind that validates or checks"
            f" stored data; submit it with its own tool, in a form that changes nothing. {FOLLOW} Report what it found,"
            " the gravest first, and what would be repaired; repair nothing before I agree. If there is no such kind,"
            " say so, and tell me instead from list_jobs which of the latest jobs ended with failures."
        )
