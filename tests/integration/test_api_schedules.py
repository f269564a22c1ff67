"""Schedules over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.model import Db
from shared.store import schedules
from shared.store.defaults import CATALOGUE_WEEKLY, NAMES, ensure_defaults
from tests.api_server import problem_of

HOURLY: dict[str, Any] = {"name": "hourly", "kind": "squares", "request": {"userId": "ada"}, "everySeconds": 3600}
NIGHTLY: dict[str, Any] = {
    "name": "nightly", "kind": "squares", "request": {"items": 3}, "cron": "0 2 * * *", "timezone": "Europe/Berlin"
}  # fmt: skip


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_a_schedule_is_created_and_read(api: httpx.Client) -> None:
    response = api.post("/api/schedules", json=NIGHTLY)

    assert response.status_code == 201
    assert response.headers["location"] == "/api/schedules/nightly"
    document = response.json()
    assert document == api.get("/api/schedules/nightly").json()
    assert {name: document[name] for name in NIGHTLY} == NIGHTLY
    assert (document["userId"], document["paused"], document["lastJobId"]) == ("local", False, None)
    next_at = moment(document["nextAt"])
    assert now() < next_at < now() + timedelta(days=1, hours=2)
    assert next_at.astimezone(ZoneInfo("Europe/Berlin")).hour == 2


def test_schedules_are_listed_by_name(api: httpx.Client) -> None:
    for body in (NIGHTLY, HOURLY):
        api.post("/api/schedules", json=body)

    listed = api.get("/api/schedules").json()["schedules"]

    assert [schedule["name"] for schedule in listed] == sorted([*NAMES, "hourly", "nightly"])
    assert next(one for one in listed if one["name"] == "hourly")["userId"] == "ada"


def test_a_schedule_that_has_run_links_its_last_job(api: httpx.Client, db: Db) -> None:
    api.post("/api/schedules", json=HOURLY)
    schedule = schedules.get(db, DEFAULT_OWNER, "hourly")
    schedules.record_slot(db, schedule, job_id="job_1", error=None)

    document = api.get("/api/schedules/hourly").json()

    assert (document["lastJobId"], document["links"]["lastJob"]) == ("job_1", "/api/jobs/job_1")
    assert moment(document["lastSlot"]) == schedule.next_at


def test_a_name_is_taken_once(api: httpx.Client) -> None:
    api.post("/api/schedules", json=HOURLY)

    problem_of(api.post("/api/schedules", json=HOURLY | {"everySeconds": 60}), 409, "schedule_exists")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"everySeconds": None}, 422, "invalid_schedule"),
        ({"cron": "0 2 * * *"}, 422, "invalid_schedule"),
        ({"everySeconds": 0.1}, 422, "invalid_schedule"),
        ({"everySeconds": None, "cron": "whenever"}, 422, "invalid_schedule"),
        ({"everySeconds": None, "cron": "0 0 30 2 *"}, 422, "invalid_schedule"),
        ({"everySeconds": None, "cron": "0 2 * * *", "timezone": "Europe/Atlantis"}, 422, "invalid_schedule"),
        ({"timezone": "Europe/Atlantis"}, 422, "invalid_schedule"),
        ({"name": "Not a slug"}, 422, "invalid_request"),
        ({"kind": "cubes"}, 404, "unknown_job_kind"),
        ({"request": {"items": "many"}}, 422, "invalid_request"),
        ({"surprise": 1}, 422, "invalid_request"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    api: httpx.Client, changes: dict[str, Any], status: int, code: str
) -> None:
    problem_of(api.post("/api/schedules", json=HOURLY | changes), status, code)
    assert [one["name"] for one in api.get("/api/schedules").json()["schedules"]] == [*NAMES]


def test_the_wrong_fields_of_its_request_are_named(api: httpx.Client) -> None:
    response = api.post("/api/schedules", json=HOURLY | {"request": {"items": "many"}})

    assert [one["field"] for one in problem_of(response, 422, "invalid_request")["errors"]] == ["items"]


def test_a_schedule_is_paused_and_goes_on(api: httpx.Client, db: Db) -> None:
    api.post("/api/schedules", json=HOURLY)

    assert api.patch("/api/schedules/hourly", json={"paused": True}).json()["paused"] is True
    assert schedules.get(db, DEFAULT_OWNER, "hourly").paused
    document = api.patch("/api/schedules/hourly", json={"paused": False}).json()

    assert document["paused"] is False
    assert moment(document["nextAt"]) > now() + timedelta(minutes=59)


def test_a_cron_expression_takes_the_place_of_an_interval_and_back(api: httpx.Client) -> None:
    api.post("/api/schedules", json=HOURLY)

    by_cron = api.patch("/api/schedules/hourly", json={"cron": "30 4 * * *", "timezone": "UTC"}).json()
    by_interval = api.patch("/api/schedules/hourly", json={"everySeconds": 60}).json()

    assert (by_cron["cron"], by_cron["everySeconds"]) == ("30 4 * * *", None)
    assert moment(by_cron["nextAt"]).astimezone(UTC).strftime("%H:%M") == "04:30"
    assert (by_interval["cron"], by_interval["everySeconds"]) == (None, 60)
    assert moment(by_interval["nextAt"]) < now() + timedelta(seconds=61)


def test_what_is_submitted_can_be_changed(api: httpx.Client, db: Db) -> None:
    api.post("/api/schedules", json=HOURLY)

    document = api.patch("/api/schedules/hourly", json={"request": {"userId": "ben", "items": 5}}).json()

    assert (document["userId"], document["request"]) == ("ben", {"userId": "ben", "items": 5})
    assert schedules.get(db, DEFAULT_OWNER, "hourly").user_id == "ben"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cron": "whenever"}, "invalid_schedule"),
        ({"cron": "0 2 * * *", "everySeconds": 60}, "invalid_schedule"),
        ({"timezone": "Europe/Atlantis"}, "invalid_schedule"),
        ({"request": {"items": "many"}}, "invalid_request"),
        ({"name": "other"}, "invalid_request"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(api: httpx.Client, changes: dict[str, Any], code: str) -> None:
    before = api.post("/api/schedules", json=HOURLY).json()

    problem_of(api.patch("/api/schedules/hourly", json=changes), 422, code)
    assert api.get("/api/schedules/hourly").json() == before


def test_a_schedule_is_deleted(api: httpx.Client) -> None:
    api.post("/api/schedules", json=HOURLY)

    response = api.delete("/api/schedules/hourly")

    assert (response.status_code, response.content) == (204, b"")
    problem_of(api.get("/api/schedules/hourly"), 404, "schedule_not_found")


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"paused": True}), ("DELETE", None)])
def test_a_schedule_that_does_not_exist_is_not_found(api: httpx.Client, method: str, body: Any) -> None:
    problem_of(api.request(method, "/api/schedules/never", json=body), 404, "schedule_not_found")


def test_the_weekly_import_of_the_catalogue_waits_to_be_wanted(api: httpx.Client) -> None:
    weekly = api.get(f"/api/schedules/{CATALOGUE_WEEKLY}").json()

    assert (weekly["kind"], weekly["request"], weekly["paused"]) == (
        "catalogue_import",
        {"userId": "local", "release": True},
        True,
    )
    assert (moment(weekly["nextAt"]).strftime("%A %H:%M"), weekly["timezone"]) == ("Sunday 02:00", "UTC")
    wanted = api.patch(f"/api/schedules/{CATALOGUE_WEEKLY}", json={"paused": False}).json()
    assert (wanted["paused"], wanted["lastError"]) == (False, None)


def test_a_default_that_was_changed_or_deleted_is_not_made_again(db: Db) -> None:
    ensure_defaults(db)
    schedules.update(db, DEFAULT_OWNER, CATALOGUE_WEEKLY, {"paused": False, "cron": "0 3 * * mon"})
    ensure_defaults(db)
    changed = schedules.get(db, DEFAULT_OWNER, CATALOGUE_WEEKLY)
    assert (changed.paused, changed.cron) == (False, "0 3 * * mon")

    for name in NAMES:
        schedules.delete(db, DEFAULT_OWNER, name)
    ensure_defaults(db)

    assert schedules.find_all(db, DEFAULT_OWNER) == []
