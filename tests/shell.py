"""A shell that calls the commands of `backline` in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from api.cli.main import run


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line that an error is."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("backline: ")
        assert not self.out
        return lines[0]


class Shell:
    """Calls commands in this process, on one stack."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        code = run(arguments)
        out, err = self._capsys.readouterr()
        return Answer(code, out, err)

    def submit(self, **request: Any) -> str:
        """Submit a `squares` job and return its id."""
        return self("submit", "squares", json.dumps(request)).out.strip()

    def ended(self, **request: Any) -> str:
        """Submit a `squares` job, see it through, and return its id."""
        return str(self("submit", "squares", json.dumps(request), "--watch", "--json").json["id"])
