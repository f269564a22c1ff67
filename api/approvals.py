"""The route by which the plan of a repair is approved."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from api.access.visit import Keeper
from api.documents import Job, job_document
from api.jobs import NOT_FOUND, JobId
from api.problems import Problem
from api.services import InjectedDb
from shared import lifecycle
from shared.model import Body

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class Approval(Body):
    """The hash that the plan has, so that nobody approves another one than they have read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"planHash": "9f86d081884c7d65"}]})

    plan_hash: str = Field(min_length=1, max_length=64)


@router.post(
    "/{job_id}/approve",
    summary="Approve the plan of a job that waits for it",
    status_code=202,
    response_model=Job,
    responses={**NOT_FOUND, 409: {"model": Problem, "description": "It waits for nothing, or has another plan"}},
)
def approve_job(who: Keeper, db: InjectedDb, job_id: JobId, body: Approval) -> Job:
    """Let a repair whose status is waiting_input make the changes of its plan."""
    return job_document(lifecycle.approve(db, job_id, body.plan_hash, owner=who.owner))
