"""The least that a submit can be: a route that validates the request and inserts one document.

``uvicorn tests.benchmarks.bare_route:create_app --factory``
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pymongo import MongoClient

from shared.clock import new_id, now
from shared.jobs.audio_features import KIND, Request
from shared.settings import get_settings
from shared.store.job_record import JobRecord

COLLECTION = "bare"


def create_app() -> FastAPI:
    """Return the application."""
    settings = get_settings()
    assert settings.mongodb_uri is not None
    documents = MongoClient[dict[str, Any]](settings.mongodb_uri)[settings.mongodb_database][COLLECTION]
    # All fields of a stored job, so that the documents have the same size.
    moment = now()
    job = JobRecord(id="", kind=KIND.name, owner="", user_id="", request={}, created_at=moment, updated_at=moment)
    blank = job.to_document()
    app = FastAPI()

    @app.post("/bare", status_code=202)
    def submit(body: Request) -> dict[str, str]:
        document_id = new_id("job")
        request = body.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        documents.insert_one({**blank, "_id": document_id, "userId": body.user_id, "request": request})
        return {"id": document_id}

    return app
