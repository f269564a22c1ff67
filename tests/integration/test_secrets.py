"""Everything that a whole run wrote is searched for what nobody may find there: keys and passwords."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from deploy.parts import FLOWER_USER
from deploy.stack import StackOptions, temporary_stack
from shared.keys import KEY_FILE, new_key, parse_key
from shared.settings import Settings
from shared.store.database import connect
from tests.api_server import bearer
from tests.mcp_client import MODERN, body
from tests.waiting import wait_until


def files_with(folder: Path, secret: str) -> list[str]:
    """Return the files in which a text stands."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if secret.encode() in path.read_bytes():
            found.append(path.name)
    return found


def documents(uri: str) -> Iterator[str]:
    """Yield every document of every database, as text."""
    db = connect(Settings(mongodb_uri=uri))
    with db.client as client:
        for database in client.list_database_names():
            for collection in client[database].list_collection_names():
                for document in client[database][collection].find():
                    yield str(document)


def test_no_secret_is_left_anywhere_but_in_its_own_file(tmp_path: Path) -> None:
    options = StackOptions(data_dir=tmp_path, quiet=True, environment={"BACKLINE_JOB_MODULES": "tests.kinds"})
    with temporary_stack(options) as stack:
        own, wrong = stack.key, new_key().text
        token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJlLXRoYXQtaXMtbm9uZQ"
        redis_password = urlsplit(stack.redis_url).password or ""
        with httpx.Client(base_url=stack.url, headers=bearer(own), trust_env=False, timeout=20) as api:
            made = api.post("/api/keys", json={"owner": "echotune", "scopes": ["jobs:read", "jobs:write"]}).json()[
                "key"
            ]
            job = api.post("/api/jobs/squares", json={"items": 3}, headers={**bearer(made), "Prefer": "wait=30"}).json()
            assert job["status"] == "succeeded"
            for text in (wrong, token, made[:-1], own + "x"):
                assert api.get("/api/jobs", headers=bearer(text)).status_code == 401
            assert api.post("/api/jobs/squares", json={"items": "many"}, headers=bearer(made)).status_code == 422
            tools, modern = body("tools/list", {}), {**MODERN, "Mcp-Method": "tools/list"}
            assert api.post("/mcp", json=tools, headers={**modern, **bearer(made)}).status_code == 200
            assert api.post("/mcp", json=tools, headers={**modern, **bearer(wrong)}).status_code == 401
            shown = subprocess.run(
                [sys.executable, "-m", "api.cli.main", "--help"], capture_output=True, text=True, check=True
            ).stdout
            shown += json.dumps(api.get("/api/status").json()) + json.dumps(api.get("/api/keys").json())
        with httpx.Client(base_url=stack.flower_url, trust_env=False, timeout=20) as flower:
            wait_until(lambda: answers(flower, own), what="Flower")
            assert flower.get("/api/workers").status_code == 401
            assert flower.get("/api/workers", auth=(FLOWER_USER, made)).status_code == 401
        wait_until(lambda: any("echotune" in one and "submit_squares" in one for one in documents(stack.mongodb_uri)))
        stored = "\n".join(documents(stack.mongodb_uri))

    for secret in (own, made, wrong, token):
        parsed = parse_key(secret)
        part = secret[-43:] if parsed is not None else secret
        assert part not in stored
        assert part not in shown
        assert files_with(tmp_path, part) == ([KEY_FILE] if secret == own else [])
    assert files_with(tmp_path, redis_password) == []
    assert redis_password not in stored


def answers(flower: httpx.Client, key: str) -> bool:
    try:
        return flower.get("/api/workers", auth=(FLOWER_USER, key)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False  # nothing waits for it, so it may still be starting
