"""Real files through real workers: features come out merged, and every bad file has an outcome of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from shared.clock import new_id
from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.model import Json
from shared.paths import to_text
from shared.store import indexes
from shared.store.job_record import JobStatus
from shared.store.outcomes import StoredItem
from tests.acceptance.conftest import Client
from workers.audio.synthesis import write_demo_tracks
from workers.vectors.filters import HasAny
from workers.vectors.query import Query
from workers.vectors.shelf import Shelf

RATE = 22_050


@pytest.fixture
def folder(music: Path) -> Iterator[Path]:
    """An empty folder below the allowed root."""
    made = music / new_id("folder")
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def demo(music: Path) -> Path:
    """A dozen tracks of known tempo and key, below the allowed root."""
    tracks = music / "demo"
    write_demo_tracks(tracks)
    return tracks


def tone(seconds: float, *, rate: int = RATE, channels: int = 1, seed: float = 220.0) -> NDArray[np.float32]:
    """Return a chord that no other test has, float32 of shape (frames, channels)."""
    time = np.arange(int(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * seed * ratio * time) for ratio in (1.0, 1.25, 1.5)) / 4
    return np.repeat(np.asarray(wave, np.float32)[:, None], channels, axis=1)


def only_item(client: Client, owner: str, path: Path | str, **request: object) -> tuple[JobStatus, StoredItem]:
    """Return how a job of one path ended, and its item."""
    job = client.submit("audio_features", userId=owner, paths=[str(path)], **request)
    ended = client.wait(job.id)
    (item,) = client.items(job.id)
    return ended.status, item


def features(client: Client, owner: str) -> dict[str, Json]:
    """Return what is merged for a user, by path, without what differs from run to run."""
    found = {}
    for document in client.db["audio_features"].find({"userId": owner}, {"_id": 0}):
        found[document["path"]] = {
            name: value for name, value in document.items() if name not in ("createdAt", "updatedAt", "userId")
        }
    return found


def test_a_folder_comes_out_as_merged_features(client: Client, owner: str, demo: Path) -> None:
    job = client.submit("audio_features", userId=owner, paths=[str(demo)])

    ended = client.wait(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert ended.summary is not None
    assert ended.summary["libraryTracks"] == 12
    merged = features(client, owner)
    assert sorted(merged) == sorted(str(path) for path in demo.iterdir() if path.suffix != ".json")
    one = merged[str(demo / "harbour.wav")]
    assert one["tempo"] == pytest.approx(120, rel=0.04)
    assert (one["key"], one["mode"], one["liveness"]) == (0, 1, None)
    assert one["reasons"]["liveness"] == "no_reliable_model"
    assert one["provenance"]["version"]
    user = client.db["users"].find_one({"userId": owner})
    assert user is not None
    assert user["audioFeaturesSummary"]["tracks"] == 12


def test_beats_and_the_tempo_curve_are_stored_beside_the_content(client: Client, owner: str, demo: Path) -> None:
    job = client.submit("audio_features", userId=owner, paths=[str(demo / "harbour.wav")])
    client.wait(job.id)

    merged = features(client, owner)[str(demo / "harbour.wav")]
    content = client.db["audio_contents"].find_one({"contentHash": merged["contentHash"]})

    assert content is not None
    beats, curve = (np.array(content[name].as_vector().data) for name in ("beats", "tempoCurve"))
    assert np.diff(beats) == pytest.approx(0.5, abs=0.05)
    assert curve == pytest.approx(120, rel=0.01)
    assert len(curve) == len(np.arange(beats[0], beats[-1], 5.0))


def test_a_worker_killed_in_mid_folder_changes_nothing_in_the_features(client: Client, owner: str, demo: Path) -> None:
    undisturbed = client.submit("audio_features", userId=owner, paths=[str(demo)], force=True)
    assert client.wait(undisturbed.id).status is JobStatus.SUCCEEDED
    other = f"{owner}-disturbed"
    job = client.submit("audio_features", userId=other, paths=[str(demo)], force=True)
    client.wait_for_progress(job.id, 1)

    os.kill(client.machine.heavy.children()[0], signal.SIGKILL)

    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert features(client, other) == features(client, owner)


def test_what_is_known_is_not_analysed_again_whoever_asks(client: Client, owner: str, demo: Path) -> None:
    client.wait(client.submit("audio_features", userId=owner, paths=[str(demo)]).id)

    again = client.wait(client.submit("audio_features", userId=f"{owner}-b", paths=[str(demo)]).id)

    assert (again.progress.cached, again.progress.succeeded) == (12, 0)
    assert features(client, f"{owner}-b") == features(client, owner)


def test_a_moved_or_retagged_file_is_known_by_its_content(client: Client, owner: str, folder: Path) -> None:
    soundfile.write(folder / "one.wav", tone(4, seed=201), RATE)
    only_item(client, owner, folder)
    (folder / "one.wav").rename(folder / "two.wav")
    soundfile.write(folder / "three.flac", soundfile.read(folder / "two.wav")[0], RATE)

    job = client.submit("audio_features", userId=owner, paths=[str(folder)])
    ended = client.wait(job.id)

    assert ended.progress.cached == 2
    assert len(features(client, owner)) == 1


def test_ids_of_the_clients_own_are_kept_and_can_be_asked_for_again(client: Client, owner: str, folder: Path) -> None:
    soundfile.write(folder / "one.wav", tone(4, seed=202), RATE)
    track = {"trackId": "4uLU6hMCjMI75M1A2tKUQC", "path": str(folder / "one.wav")}
    client.wait(client.submit("audio_features", userId=owner, tracks=[track]).id)

    job = client.submit("audio_features", userId=owner, trackIds=[track["trackId"], "unheard-of"])
    ended = client.wait(job.id)

    known, unknown = client.items(job.id)
    assert (known.status, known.result and known.result["path"]) == (ItemStatus.CACHED, track["path"])
    assert unknown.error is not None
    assert unknown.error.code == "no_audio"
    assert ended.status is JobStatus.PARTIAL


def test_an_explicit_retry_looks_at_a_bad_file_again(client: Client, owner: str, folder: Path) -> None:
    (folder / "late.wav").write_bytes(b"not yet audio")
    job = client.submit("audio_features", userId=owner, paths=[str(folder)])
    assert client.wait(job.id).status is JobStatus.FAILED
    soundfile.write(folder / "late.wav", tone(4, seed=203), RATE)

    from_door = client.retry(job.id)

    assert client.wait(from_door.id).status is JobStatus.SUCCEEDED


# Bad input. Each function makes one file and returns its path.


def missing(folder: Path) -> Path:
    return folder / "missing.mp3"


def empty(folder: Path) -> Path:
    path = folder / "empty.mp3"
    path.touch()
    return path


def text(folder: Path) -> Path:
    path = folder / "text.mp3"
    path.write_text("I am a letter, not a song. " * 200)
    return path


def symlink_loop(folder: Path) -> Path:
    path = folder / "loop.mp3"
    path.symlink_to(path)
    return path


def symlink_out(folder: Path) -> Path:
    path = folder / "passwd.wav"
    path.symlink_to("/etc/passwd")
    return path


def outside(folder: Path) -> Path:
    return Path("/etc/passwd")


def climbing(folder: Path) -> Path:
    return folder / ".." / ".." / ".." / "etc" / "passwd"


def socket_file(folder: Path) -> Path:
    path = folder / "pipe.wav"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (missing, "missing"),
        (empty, "empty_file"),
        (text, "not_audio"),
        (symlink_loop, "unreadable"),
        (symlink_out, "outside_roots"),
        (outside, "outside_roots"),
        (climbing, "outside_roots"),
        (socket_file, "unreadable"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_bad_file_fails_with_its_code(client: Client, owner: str, folder: Path, make: object, code: str) -> None:
    assert callable(make)

    status, item = only_item(client, owner, make(folder))

    assert status is JobStatus.FAILED
    assert item.error is not None
    assert item.error.code == code
    assert item.error.message


def test_a_relative_path_is_refused_at_the_door(client: Client, owner: str) -> None:
    with pytest.raises(InvalidRequest, match="must be an absolute path"):
        client.submit("audio_features", userId=owner, paths=["music/song.mp3"])


def test_a_path_through_a_symlink_and_back_is_read_where_the_kernel_finds_it(
    client: Client, owner: str, folder: Path
) -> None:
    (folder / "far/away").mkdir(parents=True)
    soundfile.write(folder / "far/one.wav", tone(4, seed=215), RATE)
    (folder / "link").symlink_to(folder / "far/away")

    status, item = only_item(client, owner, f"{folder}/link/..")

    assert status is JobStatus.SUCCEEDED
    assert item.item["path"] == f"{folder}/link/../one.wav"


def test_two_files_under_one_id_are_both_shown(client: Client, owner: str, folder: Path) -> None:
    tracks = [{"trackId": "mine", "path": str(folder / name)} for name in ("one.wav", "two.wav")]
    for n, track in enumerate(tracks):
        soundfile.write(track["path"], tone(4, seed=216 + n), RATE)
    job = client.submit("audio_features", userId=owner, tracks=tracks)

    ended = client.wait(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    results = [item.result for item in client.items(job.id)]
    assert [result and result["trackId"] for result in results] == ["mine", "mine"]
    assert len(features(client, owner)) == 1


def test_a_bad_file_is_remembered_until_it_changes(client: Client, owner: str, folder: Path) -> None:
    path = text(folder)
    only_item(client, owner, path)
    first = client.db["audio_files"].find_one({"_id": str(path)})
    only_item(client, owner, path)
    second = client.db["audio_files"].find_one({"_id": str(path)})

    assert first is not None
    assert second is not None
    assert first["error"]["code"] == "not_audio"
    assert first["seenAt"] == second["seenAt"]


def short_clip(folder: Path) -> Path:
    soundfile.write(folder / "short.wav", tone(0.2, seed=204), RATE)
    return folder / "short.wav"


def silence(folder: Path) -> Path:
    soundfile.write(folder / "silence.wav", np.zeros((RATE * 5, 1), np.float32), RATE)
    return folder / "silence.wav"


def with_nan(folder: Path) -> Path:
    samples = tone(5, seed=205)
    samples[1000:1100] = np.nan
    soundfile.write(folder / "nan.wav", samples, RATE, subtype="FLOAT")
    return folder / "nan.wav"


def low_rate(folder: Path) -> Path:
    soundfile.write(folder / "low.wav", tone(5, rate=8000, seed=206), 8000)
    return folder / "low.wav"


def high_rate(folder: Path) -> Path:
    soundfile.write(folder / "high.flac", tone(5, rate=96_000, seed=207), 96_000)
    return folder / "high.flac"


def six_channels(folder: Path) -> Path:
    soundfile.write(folder / "six.wav", tone(5, channels=6, seed=208), RATE)
    return folder / "six.wav"


def truncated(folder: Path) -> Path:
    path = folder / "cut.flac"
    soundfile.write(path, tone(8, seed=209), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


@pytest.mark.parametrize(
    ("make", "reason", "warning"),
    [
        (short_clip, "too_short", None),
        (silence, "silence", None),
        (with_nan, None, "non_finite_samples_repaired"),
        (low_rate, None, None),
        (high_rate, None, None),
        (six_channels, None, None),
        (truncated, None, "truncated"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_unusual_file_succeeds_and_says_what_could_not_be_known(
    client: Client, owner: str, folder: Path, make: object, reason: str | None, warning: str | None
) -> None:
    assert callable(make)
    path = make(folder)

    status, item = only_item(client, owner, path)

    assert status is JobStatus.SUCCEEDED
    assert item.error is None
    merged = features(client, owner)[str(path)]
    assert merged["duration_ms"] > 0
    if reason is not None:
        assert (merged["tempo"], merged["reasons"]["tempo"]) == (None, reason)
    assert (warning in merged["warnings"]) if warning else not merged["warnings"]


def test_a_name_that_is_not_utf8_survives_every_door(client: Client, owner: str, folder: Path) -> None:
    name = os.fsencode(folder) + b"/caf\xe9.wav"
    with open(name, "wb") as file:
        soundfile.write(file, tone(4, seed=210), RATE, format="WAV")

    status, item = only_item(client, owner, folder)
    again, by_name = only_item(client, owner, to_text(name))

    assert (status, again) == (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED)
    assert item.item["path"] == by_name.item["path"] == to_text(name)
    assert item.item["path"].startswith("file://")
    assert by_name.status is ItemStatus.CACHED


def test_a_path_that_is_named_twice_is_analysed_once(client: Client, owner: str, folder: Path) -> None:
    soundfile.write(folder / "one.wav", tone(4, seed=211), RATE)
    job = client.submit("audio_features", userId=owner, paths=[str(folder / "one.wav")] * 2)

    ended = client.wait(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert len(client.items(job.id)) == 2
    assert len(features(client, owner)) == 1


def test_a_folder_without_audio_fails_and_says_so(client: Client, owner: str, folder: Path) -> None:
    (folder / "notes.txt").write_text("no music here")
    job = client.submit("audio_features", userId=owner, paths=[str(folder)])

    ended = client.wait(job.id)

    assert (ended.status, ended.error and ended.error.code) == (JobStatus.FAILED, "no_items")


def test_a_folder_that_links_to_itself_is_walked_once(client: Client, owner: str, folder: Path) -> None:
    soundfile.write(folder / "one.wav", tone(4, seed=212), RATE)
    (folder / "again").symlink_to(folder)

    status, item = only_item(client, owner, folder)

    assert status is JobStatus.SUCCEEDED
    assert item.item["path"] == str(folder / "one.wav")


def test_one_bad_file_leaves_the_others_alone(client: Client, owner: str, folder: Path) -> None:
    soundfile.write(folder / "good.wav", tone(4, seed=213), RATE)
    text(folder)
    empty(folder)
    job = client.submit("audio_features", userId=owner, paths=[str(folder), str(missing(folder))])

    ended = client.wait(job.id)

    assert ended.status is JobStatus.PARTIAL
    codes = {Path(item.item["path"]).name: item.error.code if item.error else None for item in client.items(job.id)}
    assert codes == {
        "good.wav": None,
        "text.mp3": "not_audio",
        "empty.mp3": "empty_file",
        "missing.mp3": "missing",
    }


def test_a_file_that_goes_away_between_plan_and_run_is_missing(client: Client, owner: str, folder: Path) -> None:
    client.machine.heavy.terminate()
    soundfile.write(folder / "gone.wav", tone(4, seed=214), RATE)
    job = client.submit("audio_features", userId=owner, paths=[str(folder)])
    client.wait_for_plan(job.id)
    (folder / "gone.wav").unlink()

    client.machine.heal()
    client.wait(job.id)

    (item,) = client.items(job.id)
    assert item.error is not None
    assert item.error.code == "missing"


def test_what_was_analysed_is_found_by_how_it_sounds(client: Client, owner: str, demo: Path) -> None:
    job = client.wait(client.submit("audio_features", userId=owner, paths=[str(demo)], index=True).id)
    assert job.followed_by is not None

    index = client.wait(job.followed_by)

    assert index.status is JobStatus.SUCCEEDED
    assert index.summary is not None
    folder = indexes.folder(client.settings.index_dir, job.owner, "tracks")
    with Shelf(folder).open(index.summary["snapshot"]) as snapshot:
        mine = sorted(one for one in snapshot.ids() if one.startswith(f"{owner}\n"))
        assert len(mine) == 12
        for one in mine:
            sound = snapshot.originals([one], "audio")[0]
            (nearest,) = snapshot.search(Query(near={"audio": sound}, conditions=[HasAny("user", [owner])], k=1))
            assert nearest.id == one
