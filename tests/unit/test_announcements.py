from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.announcements import AnnouncementsForPeople, AnnouncementsForPrograms
from deploy.errors import PortInUse
from deploy.processes import ProcessIdentity
from deploy.running import RunningStack
from shared.clock import now
from shared.keys import ensure_key_file


def stack(*music_roots: Path) -> RunningStack:
    return RunningStack(
        url="http://127.0.0.1:1",
        flower_url="http://127.0.0.1:2",
        redis_url="redis://",
        mongodb_uri="mongodb://",
        data_dir=Path("/data"),
        key_file=Path("/data/api.key"),
        launcher=ProcessIdentity.own(),
        started_at=now(),
        parts={},
        music_roots=music_roots,
    )


def test_only_a_terminal_is_shown_a_link_with_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ensure_key_file(tmp_path / "api.key")
    shown = replace(stack(), key_file=tmp_path / "api.key")
    AnnouncementsForPeople().ready(shown)
    assert key.text not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    AnnouncementsForPeople().ready(shown)
    assert f"/api/docs#key={key.text}" in capsys.readouterr().out


def test_people_see_which_folders_may_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    AnnouncementsForPeople().ready(stack(tmp_path, tmp_path / "gone"))
    shown = capsys.readouterr().out
    assert f"Music   {tmp_path}\n" in shown
    assert f"Music   {tmp_path}/gone (there is no such folder)" in shown


def test_people_see_how_to_open_a_folder_where_none_is(capsys: pytest.CaptureFixture[str]) -> None:
    AnnouncementsForPeople().ready(stack())
    assert "every file is refused: stop, and start with --music DIR" in capsys.readouterr().out


def test_programs_get_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    announce = AnnouncementsForPrograms()
    for phase in ("preparing", "preparing", "starting: waiting for mongodb"):
        announce.phase(phase)
    announce.ready(stack(Path("/music")))
    announce.failure(PortInUse("Port 1 is in use."))
    announce.stopped()

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [event["event"] for event in events] == ["starting", "starting", "ready", "failed", "stopped"]
    assert (events[2]["url"], events[2]["musicRoots"]) == ("http://127.0.0.1:1", ["/music"])
    assert events[3]["code"] == "port_in_use"
    assert "--port" in events[3]["advice"]
