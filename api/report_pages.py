"""A validation's report as Markdown, and as a page that needs nothing from outside; everything in it is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from shared.findings import QUALITY_FORMULAS, Finding, Report, Severity

COLOURS: Mapping[Severity, str] = {
    Severity.CRITICAL: "#b3261e",
    Severity.HIGH: "#d9730d",
    Severity.MEDIUM: "#c79a00",
    Severity.LOW: "#4f7cac",
    Severity.INFO: "#8a8f98",
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c1e21;background:#fff}
table{border-collapse:collapse;width:100%;margin:1em 0}
th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid #ddd;overflow-wrap:anywhere}
h2{margin-top:2em}
svg text{font:12px system-ui,sans-serif;fill:#1c1e21}
"""
BAR = 22  # pixels
WIDTH = 640
LABEL = 190
BARS_MAX = 20


def markdown(report: Report, findings: Sequence[Finding]) -> str:
    """Return the report as Markdown."""
    lines = [
        f"# Database validation: {_md(report.overall_health)}",
        "",
        *(f"- {line}" for line in _summary(report)),
        "",
    ]
    lines += ["## Findings", ""]
    if findings:
        lines += ["| severity | finding | collection | count | since before | repair |", "|---|---|---|---:|---|---|"]
        lines += [f"| {' | '.join(map(_md, _row(one)))} |" for one in findings]
    else:
        lines.append("Nothing was found.")
    for one in findings:
        lines += ["", f"### {_md(one.title)}{_md(_where(one))}", "", _md(one.why), *_md_details(one)]
    lines += ["", "## Quality", "", "| what | value | formula |", "|---|---:|---|"]
    lines += [f"| {' | '.join(map(_md, row))} |" for row in _quality(report)]
    if report.recommendations:
        lines += ["", "## Recommendations", "", *(f"- {_md(one)}" for one in report.recommendations)]
    lines += ["", "## Collections", "", "| name | documents | bytes | indexes | index bytes | seconds |"]
    lines += ["|---|---:|---:|---:|---:|---:|", *(f"| {' | '.join(map(_md, row))} |" for row in _collections(report))]
    if report.not_checked:
        lines += ["", "## Not checked", "", *(f"- {_md(line)}" for line in _not_checked(report))]
    return "\n".join(lines) + "\n"


def html(report: Report, findings: Sequence[Finding]) -> str:
    """Return the report as one page, its charts drawn in it."""
    by_severity = [(one.value, report.by_severity.get(one.value, 0), COLOURS[one]) for one in Severity]
    sizes = sorted(((name, one.documents) for name, one in report.collections.items()), key=lambda one: -one[1])
    worst = [(f"{one.title}{_where(one)}", one.count, COLOURS[one.severity]) for one in findings]
    parts = [
        f"<h1>Database validation: {escape(report.overall_health)}</h1>",
        f"<p>{_dial(report.health_score)}</p>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in _summary(report)) + "</ul>",
        "<h2>Findings by severity</h2>",
        _bars(by_severity),
        "<h2>Findings</h2>",
        _table(FINDING_HEADS, map(_row, findings)) if findings else "<p>Nothing was found.</p>",
        _bars(sorted(worst, key=lambda one: -one[1])[:BARS_MAX]) if worst else "",
        *(_html_details(one) for one in findings),
        "<h2>Quality</h2>",
        _table(("what", "value", "formula"), _quality(report)),
        *(["<h2>Recommendations</h2>", _list(report.recommendations)] if report.recommendations else []),
        "<h2>Documents by collection</h2>",
        _bars([(name, count, COLOURS[Severity.LOW]) for name, count in sizes[:BARS_MAX]]),
        _table(("name", "documents", "bytes", "indexes", "index bytes", "seconds"), _collections(report)),
        *(["<h2>Not checked</h2>", _list(_not_checked(report))] if report.not_checked else []),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Database validation</title>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{"".join(parts)}</body></html>'
    )


FINDING_HEADS = ("severity", "finding", "collection", "count", "since before", "repair")


def _summary(report: Report) -> list[str]:
    lines = [
        f"Health {report.health_score:g} of 100; {report.total_issues} issues, {report.repairable} can be repaired.",
        f"{report.documents:,} documents of {len(report.collections)} collections of {report.database} in"
        f" {report.seconds:.1f} s: {report.documents_per_second:,.0f} a second.",
        f"{report.created_at:%Y-%m-%d %H:%M} UTC, job {report.id}{', deep' if report.deep else ''}.",
    ]
    if (since := report.comparison) is not None:
        lines.append(
            f"Since {since.previous_job_id}: {since.new} new, {since.grown} grown, {len(since.gone)} gone; the health"
            f" was {since.health_score_before:g}."
        )
    return lines


def _where(one: Finding) -> str:
    return f" in {one.collection}" if one.collection else ""


def _row(one: Finding) -> tuple[str, ...]:
    change = one.change if one.before is None else f"{one.change} ({one.before:,} before)"
    return one.severity.value, one.title, one.collection, f"{one.count:,}", change, "yes" if one.repair else "by hand"


def _quality(report: Report) -> list[tuple[str, ...]]:
    values = report.quality.model_dump()
    return [
        (name, "not known" if values[name] is None else f"{values[name]:.4f}", formula)
        for name, formula in QUALITY_FORMULAS.items()
    ]


def _collections(report: Report) -> list[tuple[str, ...]]:
    def said(value: float | None) -> str:
        return "" if value is None else f"{value:,.0f}"

    return [
        (
            name,
            said(one.documents),
            said(one.size_bytes),
            said(one.indexes),
            said(one.total_index_size),
            f"{one.seconds:.2f}",
        )
        for name, one in report.collections.items()
    ]


def _not_checked(report: Report) -> list[str]:
    return [f"{one.check}{f' in {one.collection}' if one.collection else ''}: {one.why}" for one in report.not_checked]


def _details(one: Finding) -> list[tuple[str, str]]:
    found = [("What", one.note), ("Repair", one.repair), ("Advice", one.advice)]
    found.append(("Fields", ", ".join(f"{name} ({count:,})" for name, count in one.fields.items())))
    found.append(("For example", ", ".join(one.examples)))
    return [(name, text) for name, text in found if text]


def _md(text: str) -> str:
    """Return a text as Markdown that shows just that, in a cell of a table, too."""
    flat = " ".join(text.split())
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>()#+!|~$" else one for one in flat)


def _md_details(one: Finding) -> list[str]:
    return [line for name, text in _details(one) for line in ("", f"{name}: {_md(text)}")]


def _html_details(one: Finding) -> str:
    rest = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _details(one))
    return f"<h3>{escape(one.title)}{escape(_where(one))}</h3><p>{escape(one.why)}</p><dl>{rest}</dl>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _bars(rows: Sequence[tuple[str, int, str]]) -> str:
    """Return a chart of horizontal bars: label, value, colour."""
    most = max((value for _, value, _ in rows), default=0) or 1
    room = WIDTH - LABEL - 90
    bars = []
    for n, (label, value, colour) in enumerate(rows):
        length = max(1.0, value / most * room) if value else 0.0
        middle = n * BAR + BAR * 0.68
        bars.append(
            f'<text x="{LABEL - 8}" y="{middle:.1f}" text-anchor="end">{escape(label[:34])}</text>'
            f'<rect x="{LABEL}" y="{n * BAR + 4}" width="{length:.1f}" height="{BAR - 8}" fill="{colour}"/>'
            f'<text x="{LABEL + length + 6:.1f}" y="{middle:.1f}">{value:,}</text>'
        )
    height = len(rows) * BAR
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{"".join(bars)}</svg>'


def _dial(score: float) -> str:
    """Return the health score as a half circle that is filled so far."""
    length = 3.14159265 * 60
    colour = COLOURS[Severity.LOW if score >= 90 else Severity.MEDIUM if score >= 60 else Severity.CRITICAL]
    arc = 'd="M10 70 A60 60 0 0 1 130 70" fill="none" stroke-width="16"'
    return (
        '<svg viewBox="0 0 140 90" width="210" height="135" role="img" aria-label="health score">'
        f'<path {arc} stroke="#e3e5e8"/>'
        f'<path {arc} stroke="{colour}" stroke-dasharray="{length * score / 100:.1f} 400"/>'
        f'<text x="70" y="72" text-anchor="middle" style="font-size:26px">{score:g}</text></svg>'
    )
