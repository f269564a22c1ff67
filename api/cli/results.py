"""What a command does with the features that its jobs have found: a file, standard output, or a table for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from api.cli import output
from api.cli.client import Client
from api.cli.export import STANDARD_OUTPUT, Format, choose_target, whole_file, write_csv, write_features
from api.cli.items import GOOD, NOT_GOOD, read_all
from api.cli.report import Report, print_report
from api.cli.tracks import track_table

Write = Callable[[Client, Report], None]
SHOWN = 20  # tracks whose features are shown on a terminal


def writer(to: Path | None, wanted: Format | None, *, as_json: bool) -> Write:
    """Return what presents the results as the options ask. Raises `WrongInput` before any work is done."""
    chosen = choose_target(to, wanted, as_json=as_json)
    if chosen is None:
        return _print_for_people
    target, form = chosen

    def write(client: Client, report: Report) -> None:
        tracks = _write_file(client, report, target, form)
        if target == STANDARD_OUTPUT:
            if not as_json:
                print_report(report, output.stderr())
        elif as_json:
            output.print_json(
                {"output": str(target.absolute()), "format": form, "metadata": report.to_json(tracks=tracks)}
            )
        else:
            print_report(report, output.stdout())
            output.stdout().print(f"Written to {output.clean(target)}", markup=False)

    return write


def _write_file(client: Client, report: Report, target: Path, form: Format) -> int:
    with whole_file(target) as file:
        if form is Format.CSV:
            write_csv(file, report.noting(read_all(client, report.jobs)))
            return report.now.good
        good = report.noting(read_all(client, report.jobs, statuses=GOOD))
        bad = read_all(client, report.jobs, statuses=NOT_GOOD)
        return write_features(file, good, bad, lambda tracks: report.to_json(tracks=tracks))


def _print_for_people(client: Client, report: Report) -> None:
    console = output.stdout()
    if report.now.good:
        good = report.noting(read_all(client, report.jobs, statuses=GOOD))
        console.print(track_table(islice(good, SHOWN)))
        deque(good, maxlen=0)  # the warnings of all are counted
        more = report.now.good - SHOWN
        console.print(f"... and {output.plural(more, 'track')} more\n" if more > 0 else "")
    print_report(report, console)
