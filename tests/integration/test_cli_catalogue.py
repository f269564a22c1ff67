"""`backline catalogue` and the route behind it, on a stack that runs."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.catalogue_data import entries, tracks, write_release, write_tracks
from tests.shell import Shell
from tests.waiting import wait_until

USAGE = 2


def test_a_release_is_imported_and_told_in_figures(shell: Shell, music_root: Path) -> None:
    path = write_release(music_root / "release.jsonl.zst", entries(120), "2026-11-20")

    told = shell("catalogue", "import", str(path), "--no-index", "--catalogue", "cli", "--json").json

    assert told["status"] == "succeeded"
    assert (told["summary"]["new"], told["summary"]["releaseDate"]) == (120, "2026-11-20")
    again = shell("catalogue", "import", str(path), "--no-index", "--catalogue", "cli")
    assert (again.code, "imported before" in again.out) == (0, True)
    forced = shell("catalogue", "import", str(path), "--no-index", "--catalogue", "cli", "--force")
    assert "unchanged    120" in " ".join(forced.out.split("\n")) or "120" in forced.out


def test_what_failed_is_told_with_an_example(shell: Shell, music_root: Path) -> None:
    lines = list(entries(5, seed=9))
    lines[2]["tags"] = "drama"
    path = write_release(music_root / "bad.jsonl", lines)

    told = shell("catalogue", "import", str(path), "--no-index", "--catalogue", "bad")

    assert told.code == 1
    assert "wrong_type" in told.err
    assert "'tags'" in told.err


def test_wrong_calls_are_refused(shell: Shell, tmp_path: Path) -> None:
    assert shell("catalogue", "import").code == USAGE
    assert shell("catalogue", "import", "x.json", "--release").code == USAGE
    outside = shell("catalogue", "import", str(write_release(tmp_path / "outside.jsonl", entries(1))), "--json")
    assert (outside.code, outside.json["error"]["code"]) == (1, "outside_roots")


def test_tracks_come_in_over_http(http: httpx.Client, music_root: Path) -> None:
    path = write_tracks(music_root / "tracks.csv", list(tracks(20)))
    body = {"path": str(path), "form": "tracks", "index": False}

    job = http.post("/api/jobs/catalogue_import", json=body)

    assert job.status_code == 202
    place = job.headers["location"]
    wait_until(lambda: http.get(place).json()["status"] in ("succeeded", "failed", "partial"), seconds=60)
    ended = http.get(place).json()
    assert (ended["status"], ended["summary"]["new"]) == ("succeeded", 20)
    items = http.get(f"{place}/items").json()["items"]
    assert items[0]["result"] == {"itemId": "track-track1", "action": "new", "warnings": []}
    for wrong in ({}, {"path": str(path), "release": True}, {"path": "relative"}, {"url": "https://example.org"}):
        assert http.post("/api/jobs/catalogue_import", json=wrong).status_code == 422
