"""What an older version has in MongoDB and in Redis in the middle of its work, frozen: ``python -m tests.older_version
CHECKOUT`` makes it from a checkout of that version, whose front door and planners do what they do.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis
from bson import json_util
from bson.json_util import CANONICAL_JSON_OPTIONS
from pymongo import MongoClient

from shared.model import Db
from tests.machine import Part, Servers, celery
from tests.waiting import wait_until

FROZEN = Path(__file__).parent / "data" / "older_version.json"
COLLECTIONS = ("jobs", "chunks", "outcomes", "schedules", "paces", "usage")
QUEUES = ("cpu", "index", "io", "bulk", "control")

SUBMIT = """
from shared import broker, lifecycle
from shared.jobs import get_kind
from shared.settings import get_settings
from shared.store import schedules
from shared.store.database import connect, ensure_indexes
db = connect(get_settings())
ensure_indexes(db)
for kind, request in (
    ("squares", {"userId": "ada", "items": 40, "fails": [7]}),
    ("staged", {"userId": "eve", "items": 25}),
    ("noop", {"userId": "bob", "items": 30}),
):
    form = get_kind(kind)
    job, _ = lifecycle.submit(db, form, lifecycle.validate_request(form, request))
    broker.ring_plan([job.id])
"""
LAST_WORDS = """
from shared import broker, lifecycle
from shared.jobs import get_kind
from shared.settings import get_settings
from shared.store.database import connect
form = get_kind("squares")
request = lifecycle.validate_request(form, {"userId": "ian", "items": 9})
job, _ = lifecycle.submit(connect(get_settings()), form, request)
broker.ring_plan([job.id])
broker.ring_finish(job.id)
"""


def freeze(checkout: Path) -> str:
    """Return the documents and messages of a version whose heavy workers have not begun yet."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = Servers(folder)
        environment = {
            "REDIS_URL": servers.redis_url,
            "MONGODB_URI": servers.mongodb_uri,
            "BACKLINE_DATA_DIR": str(folder / "data"),
            "BACKLINE_JOB_MODULES": "tests.kinds",
            "PYTHONPATH": "",
        }
        command = celery("worker", "-Q", "control", "-c", "1", "--without-gossip", "--without-mingle")
        planner = Part("planner", command, folder, environment, root=checkout)
        servers.start()
        try:
            with MongoClient[dict[str, Any]](servers.mongodb_uri, tz_aware=True) as client:
                db = client["backline"]
                _run(SUBMIT, folder, environment, checkout)
                planner.start()
                wait_until(lambda: len(db["chunks"].distinct("jobId")) == 3, what="the plans")
                wait_until(lambda: db["jobs"].count_documents({"plan.token": None}) == 3, what="their end")
                assert planner.terminate() == 0
                _run(LAST_WORDS, folder, environment, checkout)
                return _frozen(db, servers.redis_url)
        finally:
            planner.kill()
            servers.stop()


def _run(program: str, folder: Path, environment: dict[str, str], checkout: Path) -> None:
    part = Part("program", [sys.executable, "-c", program], folder, environment, root=checkout)
    part.start()
    assert part.process is not None
    assert part.process.wait(60) == 0, part.log.read_text()


def _frozen(db: Db, redis_url: str) -> str:
    documents = {name: list(db[name].find().sort("_id", 1)) for name in COLLECTIONS}
    with redis.Redis.from_url(redis_url) as valkey:
        lying: dict[str, Any] = {queue: valkey.lrange(queue, 0, -1) for queue in QUEUES}
    messages = {queue: [_anonymous(one) for one in ones] for queue, ones in lying.items()}
    return json_util.dumps(
        {"documents": documents, "messages": messages}, indent=1, json_options=CANONICAL_JSON_OPTIONS
    )


def _anonymous(message: bytes) -> Any:
    """Return a message as it lay in Redis, but for the name of the machine that sent it."""
    read = json.loads(message)
    return {**read, "headers": {**read["headers"], "origin": "older"}}


def thaw(db: Db, redis_url: str) -> dict[str, int]:
    """Put what is frozen into a database and a broker; return how many messages lie in each queue."""
    frozen = json_util.loads(FROZEN.read_text())
    for name, documents in frozen["documents"].items():
        if documents:
            db[name].insert_many(documents)
    with redis.Redis.from_url(redis_url) as valkey:
        for queue, messages in frozen["messages"].items():
            if messages:
                valkey.rpush(queue, *(json.dumps(one) for one in messages))
    return {queue: len(messages) for queue, messages in frozen["messages"].items()}


if __name__ == "__main__":
    FROZEN.parent.mkdir(exist_ok=True)
    os.environ.pop("BACKLINE_JOB_MODULES", None)
    FROZEN.write_text(freeze(Path(sys.argv[1])) + "\n")
