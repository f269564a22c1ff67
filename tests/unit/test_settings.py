"""The settings: their table for people, and secrets that lie in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import settings_table
from shared.errors import WrongSetting
from shared.settings import SECRET_FILES, Settings, get_settings, settings_with_servers, variable_of
from tests.environment import variables_set


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    assert settings_table.FILE.read_text(encoding="utf-8") == settings_table.page(), (
        "write it anew: python -m deploy.settings_table"
    )


def test_the_table_has_every_setting_once_with_a_meaning() -> None:
    names = [name for section in settings_table.sections() for name in section.names]

    assert sorted(names) == sorted(Settings.model_fields)
    rows = [line for line in settings_table.page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(names)
    assert not [row for row in rows if not row.split(" | ")[-1].strip(" |")]


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_secret_may_lie_in_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("redis://:from-a-file@cache:6379/0\n")
    variable = variable_of(name)

    def value() -> str:
        found = getattr(Settings(), name)
        return str(found if isinstance(found, str) else found.get_secret_value())

    with variables_set(monkeypatch, {variable: None, f"{variable}_FILE": str(secret)}):
        assert value() == "redis://:from-a-file@cache:6379/0"
    with variables_set(monkeypatch, {variable: "redis://here/0", f"{variable}_FILE": str(secret)}):
        assert value() == "redis://here/0"


def test_a_secret_that_can_not_be_read_is_named_but_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"REDIS_URL": None, "REDIS_URL_FILE": str(tmp_path / "missing")}
    with variables_set(monkeypatch, changes), pytest.raises(WrongSetting, match=r"REDIS_URL_FILE.*No such file"):
        get_settings()
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe geheim")
    with (
        variables_set(monkeypatch, {**changes, "REDIS_URL_FILE": str(binary)}),
        pytest.raises(WrongSetting, match="it is no text") as caught,
    ):
        get_settings()
    assert "geheim" not in str(caught.value)


def test_servers_that_are_named_by_files_are_enough_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis").write_text("redis://cache/0")
    (tmp_path / "mongodb").write_text("mongodb://db/")
    files = {"REDIS_URL_FILE": str(tmp_path / "redis"), "MONGODB_URI_FILE": str(tmp_path / "mongodb")}
    with variables_set(monkeypatch, {"REDIS_URL": None, "MONGODB_URI": None, **files}):
        assert settings_with_servers().mongodb_uri == "mongodb://db/"
