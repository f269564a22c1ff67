"""What a dashboard consists of, and its form in Grafana's JSON (schema version 41)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
"""Grafana's grid has so many columns."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One expression and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"  # as Grafana spells it: s, bytes, percentunit, reqps
    kind: str = "timeseries"  # or stat
    width: int = 8
    height: int = 8
    words: str = ""  # what it tells, where the title doesn't


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A page of panels, laid out from left to right."""

    uid: str
    title: str
    panels: tuple[Panel, ...]

    @property
    def expressions(self) -> list[tuple[str, str]]:
        """Every panel's title with each of its expressions."""
        return [(panel.title, query.expr) for panel in self.panels for query in panel.queries]

    def to_json(self) -> Json:
        """Return what Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["backline"],
            "schemaVersion": 41,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "panels": list(_laid_out(self.panels)),
        }


def line(title: str, *queries: tuple[str, str], unit: str = "short", width: int = 8, words: str = "") -> Panel:
    """Return a picture of lines over time, each an expression and its legend."""
    asked = tuple(Query(expr=expr, legend=legend) for expr, legend in queries)
    return Panel(title=title, queries=asked, unit=unit, width=width, words=words)


def number(title: str, expr: str, *, unit: str = "short", width: int = 4) -> Panel:
    """Return one large number."""
    return Panel(title=title, queries=(Query(expr=expr),), unit=unit, width=width, height=4, kind="stat")


def _laid_out(panels: Sequence[Panel]) -> Iterator[Json]:
    x = y = row_height = 0
    for place, panel in enumerate(panels, start=1):
        if x + panel.width > WIDTH:
            x, y, row_height = 0, y + row_height, 0
        yield {
            "id": place,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.words,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": _options(panel),
            "targets": [
                {"refId": chr(ord("A") + n), "expr": query.expr, "legendFormat": query.legend, "datasource": SOURCE}
                for n, query in enumerate(panel.queries)
            ],
        }
        x, row_height = x + panel.width, max(row_height, panel.height)


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
