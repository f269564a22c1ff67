"""`backline status`: is everything up, and what is it doing?"""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.text import Text

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import ExitCode
from api.cli.options import AsJson, Data, Url

SERVERS = (("mongodb", "MongoDB"), ("redis", "Redis"), ("search", "Search"))


app = typer.Typer(add_completion=False)


@app.command("status")
def show_status(*, url: Url = None, data: Data = None, as_json: AsJson = False) -> int:
    """Show the servers, the queues, the worker processes and the jobs; exit code 1 when a part is down."""
    with connect(url, data) as client:
        status = client.status()
        providers = client.providers()["providers"]
        address = client.url
    if as_json:
        output.print_json({"url": address, **status, "providers": providers})
    else:
        _print(status, providers, address)
    return ExitCode.NOT_ALL_GOOD if _is_down(status["parts"]) else ExitCode.OK


def _is_down(parts: Json) -> bool:
    servers = [part for name, _ in SERVERS if (part := parts.get(name)) is not None]
    return not all(part["ok"] for part in (*servers, *parts["queues"].values()))


def _print(status: Json, providers: list[Json], address: str) -> None:
    console = output.stdout()
    rows: list[tuple[str, object]] = [("API", _up(f"up at {address}"))]
    parts = status["parts"]
    rows += [(title, _server(parts[name])) for name, title in SERVERS if parts.get(name) is not None]
    rows += [(one["name"].capitalize(), _provider(one)) for one in providers if one["place"] is not None]
    console.print(output.facts(rows))
    queue_columns = ("queue", "workers", "waiting", "")
    console.print(Text())
    console.print(output.table(queue_columns, _queues(status), right=("workers", "waiting")))
    if status["workers"]:
        console.print(Text())
        columns = ("process", "queues", "memory", "does", "seen")
        console.print(output.table(columns, map(_worker, status["workers"]), right=("memory",)))
    counts = {name: count for name, count in (status["jobs"] or {}).items() if count}
    console.print(Text())
    console.print(_jobs(counts))


def _up(words: str) -> Text:
    return Text(output.clean(words), style="green")


def _server(part: Json) -> Text:
    if part["ok"]:
        return _up(f"up, {part['milliseconds']} ms")
    return Text(f"down: {output.clean(part['detail'])}", style="red")


def _provider(one: Json) -> Text:
    """Say in a line how a provider of features is."""
    if not one["configured"]:
        return Text("not set up")
    words = [f"{budget['remaining']} of {budget['calls']} calls left" for budget in one["budgets"][-1:]]
    if one["pausedSeconds"]:
        words.insert(0, f"{'quota spent' if one['quotaSpent'] else 'paused'} for {one['pausedSeconds']:.0f} s")
    for endpoint in one["endpoints"]:
        if endpoint["open"] is False:
            words.append(f"{endpoint['name']}: {endpoint['reason']}")
        elif endpoint["breaker"] not in ("closed", None):
            words.append(f"{endpoint['name']}: does not answer")
    return Text(output.clean("; ".join(words) or "files below the music folders"))


def _queues(status: Json) -> Iterator[tuple[object, ...]]:
    for name, queue in status["queues"].items():
        is_up = status["parts"]["queues"][name]["ok"]
        word = "" if is_up else Text("no worker takes from it", style="red")
        yield name, queue["slots"], queue["waitingChunks"], word if word else Text()


def _worker(worker: Json) -> tuple[object, ...]:
    job = worker["jobId"]
    return (
        worker["id"],
        ", ".join(worker["queues"]),
        f"{worker['rssMb']:.0f} MB",
        "waits" if job is None else f"{job} chunk {worker['chunk']}",
        output.relative(worker["seenAt"]),
    )


def _jobs(counts: Json) -> Text:
    line = Text("Jobs: " if counts else "No job yet.")
    for place, (name, count) in enumerate(counts.items()):
        line.append(", " if place else "").append(f"{count:,} ").append_text(output.status_text(name))
    return line
