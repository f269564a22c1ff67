"""What became of one call: figures for programs, a summary for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from api.cli import output
from api.cli.client import Json
from api.cli.failures import HINTS, Reason
from api.cli.overview import Overview, overview


@dataclass(frozen=True, kw_only=True)
class Report:
    """The jobs of one call after their end."""

    jobs: Sequence[Json]
    reasons: Sequence[Reason]  # of the failed items
    seconds: float  # from the submission to the end
    warnings: Counter[str] = field(default_factory=Counter)  # of the good items that were read so far, by code
    processed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def now(self) -> Overview:
        """The counts of the jobs taken together."""
        return overview(self.jobs)

    @property
    def tracks_per_second(self) -> float:
        """How many tracks had their outcome in a second, cached ones included."""
        return (self.now.good + self.now.failed) / max(self.seconds, 1e-3)

    def noting(self, items: Iterable[Json]) -> Iterator[Json]:
        """Pass items on, and count their warnings."""
        for item in items:
            self.warnings.update((item.get("result") or {}).get("warnings") or ())
            yield item

    def to_json(self, *, tracks: int) -> Json:
        """Return the figures for programs; `tracks` have features."""
        now = self.now
        return {
            "total_tracks": tracks,
            "processed_at": self.processed_at.isoformat(timespec="milliseconds"),
            "status": now.status,
            "jobs": [job["id"] for job in self.jobs],
            "metrics": {
                **now.counts,
                "processed": now.good,
                "tracks_per_second": round(self.tracks_per_second, 3),
                "duration_seconds": round(self.seconds, 3),
                "success_rate": now.success_rate,
            },
            "failures": [reason.to_json() for reason in self.reasons],
            "warnings": dict(self.warnings),
            "job_errors": [{"job": job["id"], **job["error"]} for job in self.jobs if job.get("error")],
        }


def print_report(report: Report, console: Console) -> None:
    """Print the summary that people read."""
    now = report.now
    console.print(_headline(report))
    rows = [("succeeded", now.succeeded), ("cached", now.cached), ("failed", now.failed)]
    if now.cancelled:
        rows.append(("cancelled", now.cancelled))
    console.print(output.facts((f"  {name}", f"{count:>7,}") for name, count in rows))
    for reason in report.reasons:
        console.print(Text(f"  {reason.count:,} {output.clean(reason.code)}", style="red"))
        for example in reason.examples:
            console.print(Text(f"    {output.clean(example['item'])}: {output.clean(example['message'])}"))
        if reason.count > len(reason.examples):
            console.print(Text(f"    and {reason.count - len(reason.examples):,} more", style="dim"))
        if reason.code in HINTS:
            console.print(Text(f"    {HINTS[reason.code]}", style="yellow"))
    for code, count in report.warnings.most_common():
        words = output.clean(code).replace("_", " ")
        console.print(Text(f"  {output.plural(count, 'track')} with a warning: {words}", style="yellow"))
    for job in report.jobs:
        if job.get("error"):
            console.print(
                Text(f"  {output.clean(job['error']['code'])}: {output.clean(job['error']['message'])}", style="red")
            )


def _headline(report: Report) -> Text:
    now = report.now
    line = Text().append_text(output.status_text(now.status))
    line.append(f": {output.plural(now.good, 'track')} of {now.total:,} in {output.duration(report.seconds)}")
    line.append(f", {output.rate(report.tracks_per_second, 'track')}")
    if now.success_rate is not None:
        line.append(f", {now.success_rate:.1%} good")
    return line
