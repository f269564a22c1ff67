"""Where the fixture jobs ask, and where the answers lie: one document per question, in MongoDB as all that is true."""

from __future__ import annotations

from collections.abc import Mapping

from shared.model import Db, Json

COLLECTION = "conformance_questions"


def ask(db: Db, job_id: str, key: str, message: str, schema: Json) -> None:
    """Ask once, however often this is called."""
    request = {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }
    new = {"jobId": job_id, "key": key, "request": request, "answer": None}
    db[COLLECTION].update_one({"_id": _id(job_id, key)}, {"$setOnInsert": new}, upsert=True)


def answer_to(db: Db, job_id: str, key: str) -> Json | None:
    """Return the answer, as soon as there is one."""
    question = db[COLLECTION].find_one({"_id": _id(job_id, key)})
    answer: Json | None = question and question["answer"]
    return answer


class Questions:
    """What the Tasks extension shows of them."""

    def asked(self, db: Db, job_id: str) -> Mapping[str, Json]:
        """Return the questions of a job without an answer, by their keys."""
        return {one["key"]: one["request"] for one in db[COLLECTION].find({"jobId": job_id, "answer": None})}

    def answer(self, db: Db, job_id: str, answers: Mapping[str, Json]) -> None:
        """Keep the first answer to each question; what nobody asked is passed over."""
        for key, answer in answers.items():
            db[COLLECTION].update_one({"_id": _id(job_id, key), "answer": None}, {"$set": {"answer": answer}})


def _id(job_id: str, key: str) -> str:
    return f"{job_id}:{key}"
