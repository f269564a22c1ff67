"""Names as text: which stand for a path, and which lie inside the roots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.paths import from_text, is_inside, require_absolute, to_text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/music/a.mp3", b"/music/a.mp3"),
        ("/music/a%00b.mp3", b"/music/a%00b.mp3"),
        ("file:///music/caf%E9.mp3", b"/music/caf\xe9.mp3"),
        ("/", b"/"),
        ("file:///", b"/"),
    ],
)
def test_an_absolute_path_is_accepted_as_text_or_uri(text: str, path: bytes) -> None:
    assert require_absolute(text) == text
    assert from_text(text) == path


@pytest.mark.parametrize(
    "text",
    ["", "a.mp3", "../a.mp3", "~/a.mp3", "file://localhost/music/a.mp3", "file://", "file:/a.mp3", "http://host/a.mp3"],
)
def test_what_is_no_absolute_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an absolute path or a file:/// URI"):
        require_absolute(text)


@pytest.mark.parametrize("text", ["/music/\0.mp3", "/music/a.mp3\0", "file:///music/%00.mp3"])
def test_a_nul_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        require_absolute(text)


@pytest.mark.parametrize("path", [b"/music/a.mp3", b"/music/caf\xe9 100%.mp3", "/music/caf\u00e9".encode(), b"/a?b#c"])
def test_every_name_survives_as_text(path: bytes) -> None:
    assert from_text(to_text(path)) == path


@pytest.mark.parametrize(
    ("path", "inside"),
    [("", True), ("/a.mp3", True), ("/deep/a.mp3", True), ("-else/a.mp3", False), ("/../a.mp3", False)],
)
def test_only_what_lies_below_a_root_is_inside(tmp_path: Path, path: str, inside: bool) -> None:
    assert is_inside(os.path.realpath(os.fsencode(f"{tmp_path}/root{path}")), [tmp_path / "root"]) is inside


def test_everything_is_inside_the_root_of_all() -> None:
    assert is_inside(b"/etc/passwd", [Path("/")])
    assert not is_inside(b"/etc/passwd", [])
