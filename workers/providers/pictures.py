"""Pictures of a playlist, as SVG and PNG, without a screen."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

FORMATS: Mapping[str, str] = {"svg": "image/svg+xml", "png": "image/png"}
DPI = 144
BINS = 20
LABEL_POINTS = 20
"""So far from the circle the longest name does not lie on it."""
INK, FILL = "#1f3a5f", "#6fa8dc"
STYLE: dict[Any, Any] = {"svg.hashsalt": "backline", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
"""The same data give the same bytes, and the same picture where a font is missing."""


def radar(values: Sequence[tuple[str, float]], title: str) -> Figure:
    """Return a radar of shares (0 to 1) by name."""
    figure = _figure(6, 6)
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(values) for place in range(len(values))]
    heights = [value for _, value in values]
    axes.plot([*angles, *angles[:1]], [*heights, *heights[:1]], color=INK)
    axes.fill(angles, heights, color=FILL, alpha=0.4)
    axes.set_xticks(angles, [name for name, _ in values])
    axes.tick_params(axis="x", pad=LABEL_POINTS)
    axes.set_ylim(0, 1)
    figure.suptitle(_plain(title))
    return figure


def distributions(values: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Return a histogram of each feature."""
    columns = 3
    rows = max(math.ceil(len(values) / columns), 1)
    figure = _figure(4 * columns, 2.6 * rows)
    for place, (name, numbers) in enumerate(values.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.hist(numbers, bins=BINS, color=FILL, edgecolor=INK)
        axes.set_title(name)
    figure.suptitle(_plain(title))
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(title: str) -> str:
    """Return a title that is no formula: matplotlib takes what stands between dollars for one."""
    return title.replace("$", r"\$")


def files(figure: Figure) -> Iterator[tuple[str, str, bytes]]:
    """Yield ending, media type and content of each form of a picture."""
    for ending, media_type in FORMATS.items():
        out = io.BytesIO()
        with mpl.rc_context(STYLE):
            figure.savefig(out, format=ending, dpi=DPI, metadata={"Date": None} if ending == "svg" else None)
        yield ending, media_type, out.getvalue()
