"""What jobs ask of whoever follows them, as the Tasks extension shows it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from api.access import visit
from shared import lifecycle
from shared.errors import NothingAsked
from shared.jobs import get_kind
from shared.jobs.database_repair import APPROVE
from shared.model import Db, Json
from shared.store import jobs, questions
from shared.store.job_record import JobRecord

ACCEPT = "accept"


class Questions:
    """The questions that stand in MongoDB."""

    def asked(self, db: Db, job_id: str) -> Mapping[str, Json]:
        """Return the questions of a job without an answer, by their keys, which name the epoch, too."""
        return {
            f"{one.key}:{one.epoch}": {
                "method": "elicitation/create",
                "params": {"mode": "form", "message": one.message, "requestedSchema": one.answer_schema},
            }
            for one in questions.open_questions(db, job_id)
        }

    def answer(self, db: Db, job_id: str, answers: Mapping[str, Json]) -> None:
        """Keep the first answer to each question; what nobody asked is passed over. Raises `WrongPlan`."""
        for key, content in answers.items():
            with suppress(NothingAsked):
                answered(db, job_id, key.partition(":")[0], content)


def answered(db: Db, job_id: str, key: str, content: Json) -> JobRecord:
    """Answer what a job of the caller's has asked, if they may submit such jobs.

    Raises `NotAllowed`, `JobNotFound`, `NothingAsked`, `WrongPlan`.
    """
    owner = visit.principal().owner
    visit.principal(get_kind(jobs.get_owned(db, owner, job_id).kind).scope)
    if key == APPROVE and content.get("action") == ACCEPT:
        plan_hash = str((content.get("content") or {}).get("planHash", ""))
        return lifecycle.approve(db, job_id, plan_hash, owner=owner)
    return lifecycle.answer(db, job_id, key, content, owner=owner)
