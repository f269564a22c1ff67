"""`backline kinds`: which kinds of job there are."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.options import AsJson, Data, Url

Kind = Annotated[str | None, typer.Argument(metavar="[KIND]", help="Show what this kind takes.")]

app = typer.Typer(add_completion=False)


@app.command("kinds")
def list_kinds(kind: Kind = None, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the kinds of job; for one of them, the fields of its request."""
    with connect(url, data) as client:
        answer = client.kinds()
    found = [one for one in answer["kinds"] if kind in (None, one["name"])]
    if kind is not None and not found:
        known = ", ".join(sorted(one["name"] for one in answer["kinds"]))
        raise WrongInput(f"There is no job kind {kind!r}; known are: {known}.", hint="Name one of them.")
    if as_json:
        output.print_json(found[0] if kind is not None else answer)
        return
    for one in found:
        _print(one, with_fields=kind is not None)


def _print(kind: Json, *, with_fields: bool) -> None:
    console = output.stdout()
    console.print(f"[bold]{output.clean(kind['name'])}[/bold]")
    console.print(f"  {output.clean(kind['description'])}", markup=False)
    if with_fields:
        schema = kind["requestSchema"]
        rows = (_row(schema, name, field) for name, field in schema["properties"].items())
        console.print(output.table(("field", "type", "default", ""), rows))
    for example in kind["examples"][: None if with_fields else 1]:
        text = f"  backline submit {kind['name']} '{json.dumps(example, ensure_ascii=False)}'"
        console.print(output.clean(text), markup=False, style="dim")


def _row(schema: Json, name: str, field: Json) -> tuple[object, ...]:
    is_required = name in schema.get("required", ())
    default = "required" if is_required else json.dumps(field.get("default"), ensure_ascii=False)
    return name, _type(schema, field), default, field.get("description")


def _type(schema: Json, field: Json) -> str:
    """Return the type of a field in a few words, its references followed."""
    if "$ref" in field:
        field = schema["$defs"][field["$ref"].rpartition("/")[2]]
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " | ".join(_type(schema, one) for one in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(schema, field.get('items', {}))}"
    if field.get("type") == "object" and "properties" in field:
        return "{" + ", ".join(field["properties"]) + "}"
    return str(field.get("type", "any"))
