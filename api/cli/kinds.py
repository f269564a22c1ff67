"""`backline kinds`: which kinds of job there are."""

from __future__ import annotations

import json

import typer

from api.cli import output
from api.cli.connection import connect
from api.cli.options import AsJson, Data, Url

app = typer.Typer(add_completion=False)


@app.command("kinds")
def list_kinds(*, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the kinds of job, and what each takes."""
    with connect(url, data) as client:
        answer = client.kinds()
    if as_json:
        output.print_json(answer)
        return
    console = output.stdout()
    for kind in answer["kinds"]:
        console.print(f"[bold]{output.clean(kind['name'])}[/bold]")
        console.print(f"  {output.clean(kind['description'])}", markup=False)
        for example in kind["examples"][:1]:
            text = f"  backline submit {kind['name']} '{json.dumps(example, ensure_ascii=False)}'"
            console.print(output.clean(text), markup=False, style="dim")
