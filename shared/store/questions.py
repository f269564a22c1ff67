"""The `questions` collection: what jobs have asked, and the first answer to each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from shared.clock import now
from shared.model import Db, Json, Record

COLLECTION = "questions"
KEPT = timedelta(days=60)


class Question(Record):
    """One question of one epoch of a job."""

    id: str = Field(alias="_id")  # job:epoch:key
    job_id: str
    epoch: int
    key: str
    message: str
    answer_schema: Json  # of the content of an answer, as JSON Schema
    answer: Json | None = None  # {"action": "accept", "content": {...}}, or "decline" or "cancel"
    asked_at: datetime
    expires_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [IndexModel([("jobId", ASCENDING), ("answer", ASCENDING)]), IndexModel("expiresAt", expireAfterSeconds=0)]
    )


def question_id(job_id: str, epoch: int, key: str) -> str:
    """Return the id that a question always has."""
    return f"{job_id}:{epoch}:{key}"


def ask(db: Db, job_id: str, epoch: int, key: str, message: str, schema: Json) -> None:
    """Ask once, however often this is called."""
    moment = now()
    question = Question(
        id=question_id(job_id, epoch, key),
        job_id=job_id,
        epoch=epoch,
        key=key,
        message=message,
        answer_schema=schema,
        asked_at=moment,
        expires_at=moment + KEPT,
    ).to_document()
    db[COLLECTION].update_one({"_id": question.pop("_id")}, {"$setOnInsert": question}, upsert=True)


def answer_to(db: Db, job_id: str, epoch: int, key: str) -> Json | None:
    """Return the answer, as soon as there is one."""
    found = db[COLLECTION].find_one({"_id": question_id(job_id, epoch, key)}, {"answer": 1})
    answer: Json | None = found and found["answer"]
    return answer


def open_questions(db: Db, job_id: str) -> list[Question]:
    """Return the questions of a job that nobody has answered."""
    return [Question.from_document(one) for one in db[COLLECTION].find({"jobId": job_id, "answer": None})]


def answer(db: Db, question: Question, content: Mapping[str, object]) -> bool:
    """Keep an answer; False when there was one already, which stands."""
    # Only by its id, and compared within: some servers use no index for an id and another field together.
    kept = {"$cond": [{"$eq": ["$answer", None]}, {"$literal": dict(content)}, "$answer"]}
    return db[COLLECTION].update_one({"_id": question.id}, [{"$set": {"answer": kept}}]).modified_count == 1
