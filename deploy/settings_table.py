"""docs/settings.md: every setting with its variable, type, default and meaning, as the code has them.

``python -m deploy.settings_table`` writes it; a test holds it against the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import EnumType
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.settings import SECRET_FILES, Settings, variable_of

FILE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEADING = """# Settings

Each is a variable of the environment, or a line of `.env` in the folder that a process is started in. Written by
`python -m deploy.settings_table` from [shared/settings.py](../shared/settings.py).

Where a table says *secret*, `NAME_FILE` may name a file that holds the value in place of `NAME`, as Docker and
Kubernetes mount secrets; a value in the environment itself goes first.
"""

DEFAULTS = {"data_dir": "`~/.local/share/backline`", "index_dir": "`indexes` in the data folder"}
MEANINGS = {
    "redis_url": "The Redis or Valkey that carries the doorbells; unset, `backline up` starts one.",
    "mongodb_uri": "The MongoDB that holds everything; unset, `backline up` starts one.",
    "mongodb_database": "The name of the main database; other owners' have theirs beside it.",
    "data_dir": "Where a stack on this machine keeps its data, its key and its log.",
    "api_host": "The address that the API listens on; another one than loopback needs keys or an issuer.",
    "api_port": "The API's port.",
    "max_body_bytes": "A longer request body is refused.",
    "oidc_scope_claim": "The claim of a token that names its scopes.",
    "spotify_client_id": "The id of an application at Spotify, whose answers fill in features.",
    "spotify_url": "Where Spotify's interface is.",
    "spotify_authorize_url": "Where users say that an application may act for them.",
    "spotify_token_url": "Where an application gets its token.",
    "spotify_batch_size": "How many tracks one call asks for.",
    "reccobeats_url": "Where ReccoBeats' interface is.",
    "reccobeats_budget": "How many calls all workers together may make.",
    "provider_connect_seconds": "How long a connection to a provider may take.",
    "max_items_per_job": "A job with more items fails.",
    "reap_seconds": "Between two looks for what a crash or an outage left behind.",
    "tick_seconds": "Between two looks for schedules that are due.",
}
"""Of settings whose name says it all to those who read the code, and of those whose default depends on the machine."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading in the class, and the settings below it."""

    title: str
    names: tuple[str, ...]


def page() -> str:
    """Return the whole page."""
    meanings = {**_docstrings(), **MEANINGS}
    parts = [HEADING]
    for section in sections():
        rows = [_row(name, Settings.model_fields[name], meanings.get(name, "")) for name in section.names]
        header = ["| variable | value | default | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {section.title}", "", *header, *rows]) + "\n")
    return "\n".join(parts)


def sections() -> list[Section]:
    """Return the settings in the order of the class, under its comments."""
    found: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(Settings).splitlines():
        if heading := re.match(r"    # ([A-Z].*)$", line):
            found.append((heading[1], []))
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in Settings.model_fields and found:
            found[-1][1].append(field[1])
    return [Section(title=title, names=tuple(names)) for title, names in found if names]


def _docstrings() -> dict[str, str]:
    """Return the text below each field of the class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body
    assert isinstance(tree, ast.ClassDef)
    return dict(_pairs(tree.body))


def _pairs(statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(statements):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            yield field.target.id, " ".join(str(text.value.value).split())


def _row(name: str, field: FieldInfo, meaning: str) -> str:
    words = meaning.replace("``", "`").replace("|", r"\|")
    kind = _kind(field) + (", secret" if name in SECRET_FILES else "")
    return f"| `{variable_of(name)}` | {kind} | {DEFAULTS.get(name) or _default(field)} | {words} |"


def _kind(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is UnionType:  # "or None" is what an empty default says
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    limits = [f"{word} {getattr(one, mark)}" for one in field.metadata for mark, word in _LIMITS if hasattr(one, mark)]
    return " ".join([_type_word(annotation), *limits])


_LIMITS = (("gt", "above"), ("ge", "from"), ("le", "to"))
_WORDS: dict[Any, str] = {
    str: "text",
    Path: "path",
    int: "whole number",
    float: "number",
    SecretStr: "text",
    bool: "true or false",
    tuple: "list",
}


def _type_word(annotation: Any) -> str:
    if isinstance(annotation, EnumType):
        members: Mapping[str, Any] = annotation.__members__
        return " / ".join(f"`{one}`" for one in members.values())
    origin = get_origin(annotation)
    if origin is Literal:
        return " / ".join(f"`{one}`" for one in get_args(annotation))
    return _WORDS.get(annotation) or _WORDS.get(origin) or "pairs"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{value}`"


def main() -> None:
    """Write the page."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE}\n")


if __name__ == "__main__":
    main()
