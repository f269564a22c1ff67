"""A first result: twelve made-up tracks through a whole temporary stack, beside what is known about them.

``python -m deploy.demo`` starts everything, submits one job over REST, shows its progress and its result, stops
everything, and ends with 0 only if the job succeeded and every tempo and key was found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy.parts import python_path
from deploy.stack import StackOptions, temporary_stack
from shared.errors import BacklineError

TEMPO_TOLERANCE = 0.04
POLL_SECONDS = 0.1
JOB_SECONDS_MAX = 80.0
HTTP_SECONDS = 10.0
FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MODES = ("minor", "major")
TICK, CROSS = "[green]✓[/]", "[red]✗[/]"

Json = dict[str, Any]


class DemoFailed(BacklineError):
    """The demo did not come to its end."""

    code = "demo_failed"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found in one track, beside what is known about it."""

    file: str
    truth: Json
    result: Json | None
    error: str

    @property
    def tempo_agrees(self) -> bool:
        """Say whether the tempo is within the tolerance."""
        found = self.result and self.result.get("tempo")
        return bool(found) and abs(found / self.truth["tempo"] - 1) <= TEMPO_TOLERANCE

    @property
    def key_agrees(self) -> bool:
        """Say whether key and mode are the very ones."""
        found = self.result or {}
        return (found.get("key"), found.get("mode")) == (self.truth["key"], self.truth["mode"])


def key_name(key: int | None, mode: int | None) -> str:
    """Return a key as musicians write it, such as ``F# minor``."""
    return "unknown" if key is None or mode is None else f"{PITCHES[key]} {MODES[mode]}"


def write_tracks(folder: Path) -> list[Json]:
    """Have the tracks written, and return the truth about them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workers.audio.synthesis", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"The tracks could not be written: {done.stderr.strip().splitlines()[-1:]}.")
    truth: list[Json] = json.loads((folder / "truth.json").read_text())
    return truth


def run_job(client: httpx.Client, folder: Path, progress: Progress) -> Json:
    """Submit the folder as one job and return its document once it has ended."""
    answer = client.post("/api/jobs/audio_features", json={"userId": "demo", "paths": [str(folder)]})
    if answer.status_code != httpx.codes.ACCEPTED:
        raise DemoFailed(f"The job was refused ({answer.status_code}): {answer.text}")
    job: Json = answer.json()
    bar = progress.add_task("analysing", total=None, rate="")
    deadline = time.monotonic() + JOB_SECONDS_MAX
    while job["status"] not in FINAL:
        if time.monotonic() > deadline:
            raise DemoFailed(f"The job is still {job['status']} after {JOB_SECONDS_MAX:.0f} s.")
        time.sleep(POLL_SECONDS)
        job = client.get(f"/api/jobs/{job['id']}").raise_for_status().json()
        show(job["progress"], progress, bar)
    return job


def show(counts: Json, progress: Progress, bar: TaskID) -> None:
    """Draw how far the job is."""
    seconds = progress.tasks[bar].elapsed or 0.0
    rate = f"{counts['done'] / seconds:.1f} tracks/s" if seconds and counts["done"] else ""
    progress.update(bar, total=counts["total"] or None, completed=counts["done"], rate=rate)


def compare(truth: Sequence[Json], items: Sequence[Json]) -> list[Comparison]:
    """Put each track's item beside the truth about it."""
    by_name = {Path(item["item"]["path"]).name: item for item in items}
    return [_compare(entry, by_name.get(entry["file"], {})) for entry in truth]


def _compare(truth: Json, item: Json) -> Comparison:
    error = item.get("error") or {}
    words = str(error.get("message", item.get("status", "no outcome")))
    return Comparison(file=truth["file"], truth=truth, result=item.get("result"), error=words)


def table_of(comparisons: Sequence[Comparison]) -> Table:
    """Return the table that shows all."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in ("Track", "Tempo", "Known", "Key", "Known", "Energy", "Dance", "Mood"):
        table.add_column(heading, justify="left" if heading in ("Track", "Key", "Known") else "right", no_wrap=True)
    for one in comparisons:
        table.add_row(*_row(one))
    return table


def _row(one: Comparison) -> list[str]:
    known = [f"{one.truth['tempo']:g}", key_name(one.truth["key"], one.truth["mode"])]
    if one.result is None:
        return [one.file, CROSS, known[0], CROSS, known[1], one.error, "", ""]
    more = [_number(one.result.get(name)) for name in ("energy", "danceability", "valence")]
    tempo = one.result.get("tempo")
    return [
        one.file,
        f"{'unknown' if tempo is None else f'{tempo:.1f}'} {TICK if one.tempo_agrees else CROSS}",
        known[0],
        f"{TICK if one.key_agrees else CROSS} {key_name(one.result.get('key'), one.result.get('mode'))}",
        known[1],
        *more,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def progress_bar(console: Console) -> Progress:
    """Return the bar, with its rate and the time that is left."""
    count, left = MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    return Progress(TextColumn("{task.description}"), BarColumn(), count, TextColumn("{task.fields[rate]}"), left,
                    console=console)  # fmt: skip


def analyse(music: Path, console: Console) -> tuple[Json, list[Json]]:
    """Start a stack, run the job, and return its document and its items."""
    options = StackOptions(music_roots=(music,), quiet=True, redis_url=None, mongodb_uri=None)
    begun = time.monotonic()
    with temporary_stack(options) as stack:
        console.print(f"Everything runs at {stack.url} after {time.monotonic() - begun:.1f} s.")
        headers = {"Authorization": f"Bearer {stack.key}"}
        with httpx.Client(base_url=stack.url, headers=headers, timeout=HTTP_SECONDS, trust_env=False) as client:
            with progress_bar(console) as progress:
                job = run_job(client, music, progress)
            items = client.get(f"/api/jobs/{job['id']}/items", params={"limit": 100}).raise_for_status().json()
        console.print("Stopping everything that was started.")
    return job, items["items"]


def demo(console: Console) -> bool:
    """Run it all; say whether the job succeeded and everything agreed."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backline-demo-") as folder:
        music = Path(folder).resolve()
        truth = write_tracks(music)
        console.print(f"{len(truth)} tracks of known tempo and key were written.")
        job, items = analyse(music, console)
    comparisons = compare(truth, items)
    console.print(table_of(comparisons))
    agreed = sum(one.tempo_agrees and one.key_agrees for one in comparisons)
    console.print(
        f"Job {job['id']} {job['status']}: {agreed} of {len(comparisons)} tracks agree; "
        f"{time.monotonic() - begun:.1f} s in all."
    )
    return bool(job["status"] == "succeeded" and agreed == len(comparisons) > 0)


def main() -> int:
    """Run the demo and return the exit code for the shell."""
    console = Console(highlight=False)
    try:
        return 0 if demo(console) else 1
    except BacklineError as error:
        console.print(f"demo: {error.message} {error.advice}", markup=False)
    except httpx.HTTPError as error:
        console.print(f"demo: the front door failed: {error}", markup=False)
    except KeyboardInterrupt:
        console.print("demo: stopped")
    return 1


if __name__ == "__main__":
    sys.exit(main())
