from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from api.cli import watching
from api.cli.batches import Manner, split, to_request
from api.cli.errors import WrongInput
from api.cli.export import MUSIC
from api.cli.inputs import Entry, expand, linked_folders, music_roots, parse_list, read_arguments
from api.cli.temporary import ROOTS_BYTES_MAX, few_enough
from shared.items import ItemStatus
from shared.jobs import audio_features
from shared.jobs.audio_features import Effort, Request
from shared.store.job_record import JobStatus


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with some music in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp3", "a.flac", "cover.jpg", "album/2.wav", "album/1.WAV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    return tmp_path


def read(*arguments: str, stdin: bytes = b"") -> list[Entry]:
    return read_arguments(arguments, (), io.BytesIO(stdin), must_exist=True)


def file(path: Path) -> Entry:
    return Entry(path=os.fsencode(path))


def test_files_and_folders_are_made_absolute(here: Path) -> None:
    assert read("b.mp3", "album") == [file(here / "b.mp3"), file(here / "album")]


def test_a_list_holds_paths_and_ids_with_comments_and_blank_lines(here: Path) -> None:
    (here / "list.txt").write_text(
        "# favourites\n\nb.mp3\n  4uLU6hMCjMI75M1A2tKUQC  \nalbum/1.WAV\r\n/elsewhere/x.ogg\n"
    )
    assert read("list.txt") == [
        file(here / "b.mp3"),
        Entry(track_id="4uLU6hMCjMI75M1A2tKUQC"),
        file(here / "album/1.WAV"),
        Entry(path=b"/elsewhere/x.ogg"),
    ]


def test_a_list_may_come_from_standard_input_or_be_named_as_one(here: Path) -> None:
    (here / "favourites").write_text("b.mp3\n")
    entries = read_arguments(["-"], [Path("favourites")], io.BytesIO(b"abc\n"), must_exist=True)
    assert entries == [Entry(track_id="abc"), file(here / "b.mp3")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "index,trackId,path\r\n0,x1,b.mp3\r\n1,x2,\r\n"),
        ("list.tsv", "track_id\tpath\nx1\tb.mp3\nx2\n"),
        ("list.jsonl", '{"trackId": "x1", "path": "b.mp3"}\n\n"x2"\n'),
    ],
)
def test_a_list_may_be_a_table_or_json_lines(here: Path, name: str, content: str) -> None:
    (here / name).write_text(content, newline="")
    assert read(name) == [Entry(track_id="x1", path=os.fsencode(here / "b.mp3")), Entry(track_id="x2")]


def test_a_table_without_a_heading_is_a_list_in_its_first_column(here: Path) -> None:
    (here / "list.csv").write_text("b.mp3,5\nx1\n")
    assert read("list.csv") == [file(here / "b.mp3"), Entry(track_id="x1")]


def test_a_relative_path_is_also_looked_for_beside_its_list(here: Path) -> None:
    (here / "album/list.m3u").write_text("#EXTM3U\n2.wav\nb.mp3\n")
    assert read("album/list.m3u") == [file(here / "album/2.wav"), file(here / "b.mp3")]


def test_a_recording_without_an_extension_is_no_list(here: Path) -> None:
    (here / "take").write_bytes(b"RIFF\0\0\0\0WAVE")
    assert read("take") == [file(here / "take")]


@pytest.mark.parametrize("name", ["text.mp3", "notes.jpg", "notes"])
def test_text_that_is_not_named_as_a_list_is_left_for_the_decoder_to_judge(here: Path, name: str) -> None:
    (here / name).write_text("not music")
    assert read(name) == [file(here / name)]


@pytest.mark.parametrize(
    ("document", "entries"),
    [
        (["x1", "/m/a.mp3"], [Entry(track_id="x1"), Entry(path=b"/m/a.mp3")]),
        ({"track_ids": ["x1", "a/b"]}, [Entry(track_id="x1"), Entry(track_id="a/b")]),
        ({"trackIds": ["x1"]}, [Entry(track_id="x1")]),
        ({"paths": ["/m/a", "/m"]}, [Entry(path=b"/m/a"), Entry(path=b"/m")]),
        ({"tracks": [{"trackId": "x1", "path": "/m/a"}]}, [Entry(track_id="x1", path=b"/m/a")]),
        ([{"track_id": "x1"}], [Entry(track_id="x1")]),
    ],
)
def test_json_lists_are_read_in_every_form_that_clients_write(document: object, entries: list[Entry]) -> None:
    assert parse_list(json.dumps(document).encode(), name="standard input", folder=b"/") == entries


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"songs": []}', b"[1]", b'[{"name": "x"}]', b'["\\ud800"]', b'"x"', b'{"paths": [""]}', b"[null]"],
)
def test_json_of_another_form_is_refused_with_what_to_write(content: bytes) -> None:
    with pytest.raises(WrongInput) as caught:
        parse_list(content, name="list.json", folder=b"/")
    assert "list.json" in caught.value.message
    assert '"track_ids"' in caught.value.hint


def test_a_byte_order_mark_is_no_part_of_the_first_entry() -> None:
    assert parse_list(b"\xef\xbb\xbfabc\n", name="x", folder=b"/") == [Entry(track_id="abc")]


def test_names_that_are_not_utf_8_survive_as_uris(here: Path) -> None:
    name = os.fsencode(here) + b"/caf\xe9.mp3"
    Path(os.fsdecode(name)).write_bytes(b"\0")
    uri = "file://" + os.fsencode(here).decode() + "/caf%E9.mp3"

    typed = read(os.fsdecode(b"caf\xe9.mp3"))
    listed = parse_list(b"caf\xe9.mp3\n" + uri.encode(), name="x", folder=os.fsencode(here))

    assert [typed[0], *listed] == [Entry(path=name)] * 3
    assert to_request(typed, Manner()) == {"paths": [uri]}


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("nowhere.mp3", "There is no file or folder"),
        ("empty.txt", "no path and no id"),
        ("zeros.txt", "is no list"),
        ("broken.csv", "is no table"),
        ("", "is empty"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(here: Path, argument: str, words: str) -> None:
    (here / "empty.txt").write_text("# nothing yet\n")
    (here / "zeros.txt").write_bytes(b"\0\0")
    (here / "broken.csv").write_bytes(b"path\n\xff\n")
    with pytest.raises(WrongInput, match=words):
        read(argument)


def test_a_place_that_only_a_far_away_worker_knows_is_passed_on() -> None:
    assert read_arguments(["/nas/music"], (), io.BytesIO(), must_exist=False) == [Entry(path=b"/nas/music")]


def test_folders_expand_to_their_audio_files_by_name(here: Path) -> None:
    (here / "album/loop").symlink_to(here)
    found = [os.path.relpath(os.fsdecode(one.path or b""), here) for one in expand([file(here), file(here / "x")])]
    assert found == ["a.flac", "album/1.WAV", "album/2.wav", "b.mp3", "x"]
    assert linked_folders([file(here), file(here / "x")]) == [os.fsencode(here / "album/loop")]


def test_lists_are_split_where_a_request_would_be_too_long() -> None:
    entries = [Entry(track_id=f"{number:04}") for number in range(25)]
    assert [len(part) for part in split(entries, entries_max=10)] == [10, 10, 5]
    assert [len(part) for part in split(entries, bytes_max=100)] == [2] * 12 + [1]
    assert [one for part in split(entries, entries_max=10) for one in part] == entries


def test_a_request_keeps_files_ids_and_files_under_ids_apart_and_is_valid() -> None:
    entries = [Entry(path=b"/a"), Entry(track_id="x"), Entry(track_id="y", path=b"/b")]
    request = to_request(entries, Manner(user="ada", effort=Effort.QUICK, force=True))
    parsed = Request.model_validate(request)
    assert (parsed.paths, parsed.track_ids, parsed.user_id) == (("/a",), ("x",), "ada")
    assert (parsed.effort, parsed.force) == (Effort.QUICK, True)
    assert [(track.track_id, track.path) for track in parsed.tracks] == [("y", "/b")]


def test_the_roots_of_a_call_hold_its_files_and_not_one_another(here: Path) -> None:
    (here / "link.mp3").symlink_to(here / "album/2.wav")
    entries = [file(here / "album/1.WAV"), file(here / "album"), Entry(track_id="x")]
    assert music_roots(entries) == [os.fsencode(here / "album")]
    assert music_roots([*entries, file(here / "b.mp3")]) == [os.fsencode(here)]
    assert music_roots([file(here / "link.mp3")]) == [os.fsencode(here / "album")]
    assert music_roots([Entry(path=b"/")]) == [b"/"]


def test_too_many_roots_become_the_folder_that_holds_them_all() -> None:
    roots = [b"/music/%06d" % number for number in range(ROOTS_BYTES_MAX // 10)]
    assert few_enough(roots) == [Path("/music")]
    assert few_enough(roots[:2]) == [Path("/music/000000"), Path("/music/000001")]


def test_names_that_are_spelt_out_are_those_of_the_service() -> None:
    assert audio_features.KIND.name == MUSIC
    assert {status.value for status in ItemStatus} == {"succeeded", "cached", "failed", "cancelled"}
    assert [status.value for status in watching.JobStatus] == [status.value for status in JobStatus]
    assert {status.value for status in JobStatus if status.is_final} == watching.FINAL
