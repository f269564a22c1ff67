from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from api.cli import output
from api.cli.errors import NotReachable, WrongInput, to_line
from api.cli.overview import overview
from api.cli.progress import show_progress
from api.cli.tracks import key_name, track_table
from api.cli.watching import Event, read_events
from shared.errors import JobNotFound

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.25, "0.2 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (83, "1 min 23 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, None),
        ("2026-11-21T12:00:00.400Z", "now"),
        ("2026-11-21T11:57:00Z", "3 min ago"),
        ("2026-11-21T14:00:00Z", "in 2 h"),
        ("2026-11-14T12:00:00Z", "7 d ago"),
        ("2026-11-21T12:59:50+01:00", "10 s ago"),
    ],
)
def test_times_are_told_from_now(at: str | None, text: str | None) -> None:
    assert output.relative(at, now=NOW) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(None, "- items/s"), (12.34, "12.3 items/s"), (0.5, "30.0 items/min"), (0.01, "0.6 items/min")],
)
def test_rates_stand_in_the_unit_that_fits(per_second: float | None, text: str) -> None:
    assert output.rate(per_second, "item") == text


def test_no_control_character_reaches_a_terminal() -> None:
    assert output.clean("a\x1b[2Jb\n\udce9") == "a�[2Jb��"


@pytest.mark.parametrize(
    ("key", "mode", "name"), [(9, 0, "A minor"), (0, 1, "C major"), (6, None, "F♯"), (None, 1, None)]
)
def test_keys_have_their_names(key: int | None, mode: int | None, name: str | None) -> None:
    assert key_name(key, mode) == name


def test_an_error_is_one_line_that_says_what_to_do() -> None:
    assert to_line(JobNotFound("There is no\njob 'x'")).startswith("There is no job 'x'. List the jobs")
    assert to_line(WrongInput("x" * 5000, hint="Shorten it.")).endswith("x …. Shorten it.")
    assert "backline up" in to_line(NotReachable("Nobody answers."))


def job(status: str, **progress: Any) -> dict[str, Any]:
    return {"status": status, "progress": {"total": 0, "totalIsExact": True, **progress}}


def test_jobs_are_added_up() -> None:
    now = overview(
        [
            job("running", total=10, succeeded=4, failed=1, itemsPerSecond=2.0, etaSeconds=2.5),
            job("running", total=20, cached=10, itemsPerSecond=1.0, etaSeconds=10.0, totalIsExact=False),
        ]
    )
    assert (now.total, now.done, now.good, now.failed, now.total_is_exact) == (30, 15, 14, 1, False)
    assert (now.items_per_second, now.eta_seconds) == (3.0, 10.0)
    assert now.success_rate == pytest.approx(14 / 15)


@pytest.mark.parametrize(
    ("statuses", "together"),
    [
        (("succeeded", "succeeded"), "succeeded"),
        (("succeeded", "failed"), "partial"),
        (("succeeded", "cancelled"), "cancelled"),
        (("succeeded", "running"), "running"),
        (("succeeded", "queued"), "queued"),
        (("running", "waiting_quota"), "running"),
    ],
)
def test_several_jobs_have_one_status(statuses: tuple[str, ...], together: str) -> None:
    assert overview([job(status) for status in statuses]).status == together


def test_what_was_cancelled_is_not_done() -> None:
    now = overview([job("cancelled", total=60, succeeded=17, failed=1, cancelled=42)])
    assert (now.done, now.total, now.cancelled) == (18, 60, 42)


def test_a_document_is_shown_as_lines_that_are_not_padded() -> None:
    shown = io.StringIO()
    summary = {"libraryTracks": 12, "libraryAverages": {"tempo": 120.25, "energy": None}}
    rows = [("job", "x"), ("nothing", None), ("summary", output.outline(summary))]
    Console(file=shown, width=44).print(output.facts(rows))
    assert shown.getvalue().splitlines() == [
        "job      x",
        "summary  library tracks  12",
        "         library averages  tempo 120.2,",
        "         energy -",
    ]


def test_a_doubtful_track_and_a_missing_value_say_so_in_the_table() -> None:
    item = {
        "item": {"path": "/m/a.mp3"},
        "status": "succeeded",
        "error": None,
        "result": {"key": None, "warnings": ["opposite_polarity"], "reasons": {"key": "silent", "liveness": "x"}},
    }
    shown = io.StringIO()
    Console(file=shown, width=200).print(track_table([item]))
    assert "succeeded, opposite polarity, no key: silent" in shown.getvalue()
    assert "liveness" not in shown.getvalue()


def test_server_sent_events_are_read_as_the_standard_says() -> None:
    lines = [
        "retry: 2000",
        "",
        ": ping",
        "event: progress",
        "id: 0.1",
        "data: {",
        "data:}",
        "",
        "data: x",
        "",
        "data: cut",
    ]
    assert list(read_events(lines)) == [
        Event(name="progress", data="{\n}", id="0.1"),
        Event(name="message", data="x"),
    ]


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(output, "stderr", lambda: Console(file=screen, force_terminal=True, width=100))
    with show_progress("Extracting") as show:
        show([job("queued", totalIsExact=False)])
        show([job("running", total=8, succeeded=4, failed=1, itemsPerSecond=2.0, etaSeconds=1.5)])
    shown = screen.getvalue()
    for words in ("5/8", "2.0 items/s, 1.5 s left", "1 failed"):
        assert words in shown


def test_progress_is_a_few_lines_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("Extracting") as show:
        for done in range(101):
            show([job("running", total=100, succeeded=done)])
        show([job("succeeded", total=100, succeeded=100)])
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 12)
    assert captured.err.splitlines()[-1] == "Extracting: succeeded, 100/100"
