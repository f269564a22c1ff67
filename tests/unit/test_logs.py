"""The form of log lines, what they are about, and what must never stand in them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from api.cli.logs import chosen
from shared import logs
from shared.keys import new_key
from shared.settings import LogFormat, Settings


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A stream to log to; the logging of the test process is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in (*logs.OURS, "pymongo", "workers.engine")}
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)


def lines(out: io.StringIO) -> list[Any]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_in_production_is_one_json_object_with_all_that_it_is_about(out: io.StringIO) -> None:
    logs.set_up(Settings(log_format=LogFormat.AUTO), stream=out)

    with logs.about(request="r1", owner=None), logs.about(job="job_1", chunk=7):
        logging.getLogger("workers.engine.running").info("%d items", 3)
    logging.getLogger("api").warning("outside")

    inside, outside = lines(out)
    assert inside["message"] == "3 items"
    assert (inside["request"], inside["job"], inside["chunk"], inside["level"]) == ("r1", "job_1", 7, "info")
    assert inside["logger"] == "workers.engine.running"
    assert inside["time"].endswith("Z")
    assert "owner" not in inside
    assert not {"job", "request", "chunk"} & outside.keys()


def test_a_traceback_stays_within_its_json_line(out: io.StringIO) -> None:
    logs.set_up(Settings(log_format=LogFormat.JSON), stream=out)
    try:
        raise ValueError("of the test\nin two lines")
    except ValueError:
        logging.getLogger("api").exception("it failed")

    (line,) = lines(out)
    assert line["message"] == "it failed"
    assert line["exception"].startswith("Traceback")
    assert "in two lines" in line["exception"]


def test_a_traceback_for_people_is_indented_below_its_line(out: io.StringIO) -> None:
    logs.set_up(Settings(log_format=LogFormat.TEXT), stream=out)
    try:
        raise ValueError("of the test")
    except ValueError:
        with logs.about(job="job_1"):
            logging.getLogger("api").exception("it failed")

    first, *rest = out.getvalue().splitlines()
    assert first.endswith("error   it failed job=job_1")
    assert len(rest) >= 3
    assert all(line.startswith(logs.INDENT) for line in rest)


def test_what_a_line_is_about_follows_the_work_into_a_thread_but_not_into_others(out: io.StringIO) -> None:
    logs.set_up(Settings(log_format=LogFormat.JSON), stream=out)
    logger = logging.getLogger("api")
    with logs.about(job="job_1"), ThreadPoolExecutor() as pool:
        pool.submit(copy_context().run, logger.info, "handed over").result()
        stranger = threading.Thread(target=logger.info, args=("stranger",))
        stranger.start()
        stranger.join()

    handed, strange = lines(out)
    assert handed["job"] == "job_1"
    assert "job" not in strange


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.TEXT])
def test_keys_and_passwords_are_blotted_out_wherever_they_come_from(out: io.StringIO, log_format: LogFormat) -> None:
    logs.set_up(Settings(log_format=log_format), stream=out)
    key = new_key()
    logger = logging.getLogger("api")
    logger.info("came with %s", key.text)
    logger.info("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2lnbmF0dXJl")
    logger.info("Headers: {'Authorization': 'Basic YXBwIG9mIHRlc3RzOnNlY3JldHNlY3JldA=='}")
    logger.info(
        "Body: {'refresh_token': 'AQDpvd7sZ', 'code_verifier': 'abc.def~123456'} {\"access_token\": \"BQCxyz12\"}"
    )
    try:
        raise ConnectionError("redis://:hunter2hunter2@cache:6379/0 and mongodb://root:geheim@db/ are down")
    except ConnectionError:
        logger.exception("no connection")

    written = out.getvalue()
    for secret in (key.text[-43:], "eyJhbGciOiJSUzI1NiJ9", "hunter2", "geheim", "YXBw", "AQDp", "abc.def", "BQCx"):
        assert secret not in written
    assert key.id in written
    assert "@cache:6379" in written
    assert "mongodb://root:***@db/" in written


def test_levels_can_be_chosen_by_part(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLINE_LOG_LEVELS", "workers.engine=error, pymongo=info")
    monkeypatch.setenv("BACKLINE_LOG_LEVEL", "warning")
    logs.set_up(Settings(log_format=LogFormat.JSON), stream=out)
    for name in ("api", "workers.audio", "workers.engine.running", "pymongo", "httpx"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, name)

    shown = [(line["logger"], line["level"]) for line in lines(out)]
    assert shown == [
        ("api", "warning"),
        ("api", "error"),
        ("workers.audio", "warning"),
        ("workers.audio", "error"),
        ("workers.engine.running", "error"),
        ("pymongo", "info"),
        ("pymongo", "warning"),
        ("pymongo", "error"),
        ("httpx", "warning"),
        ("httpx", "error"),
    ]


def test_the_command_line_may_ask_for_more_than_the_settings_but_not_for_less(out: io.StringIO) -> None:
    for level, shown in ((logging.DEBUG, 2), (logging.WARNING, 1), (None, 1)):
        out.truncate(0)
        out.seek(0)
        logs.set_up(Settings(log_format=LogFormat.JSON), level=level, stream=out)
        logging.getLogger("workers").debug("fine")
        logging.getLogger("workers").info("usual")
        assert len(lines(out)) == shown


def test_the_lines_of_a_job_are_found_with_their_tracebacks_among_those_of_others() -> None:
    written = [
        "10:00:00 heavy    | audio_features job_1:0:3: 5 items in 2.0 s job=job_1 chunk=3 owner=local",
        "10:00:00 heavy    | squares job_12:0:3: 5 items job=job_12 chunk=3",
        "10:00:01 heavy    | error an item failed job=job_1",
        "10:00:01 control  | squares job_12: succeeded job=job_12",
        "10:00:01 heavy    |     Traceback (most recent call last):",
        "10:00:01 control  |     of somebody else",
        "10:00:01 heavy    |     ValueError: no",
        "10:00:02 heavy    | idle",
        "10:00:03 api      | squares request=job_1-x",
    ]

    assert list(chosen(written, names=["job_1"])) == [written[0], written[2], written[4], written[6]]
    assert list(chosen(written, names=["job_12"], parts=["control"])) == [written[3], written[5]]
    assert list(chosen(written, parts=["api"])) == [written[8]]
    assert list(chosen(written)) == written
