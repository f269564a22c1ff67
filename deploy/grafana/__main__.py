"""Write the dashboards: ``python -m deploy.grafana``; a test holds what is committed against the code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.grafana.pages import PAGES
from deploy.grafana.panels import Dashboard

FOLDER = Path(__file__).resolve().parent / "dashboards"


def text(page: Dashboard) -> str:
    """Return a dashboard as its file has it."""
    return json.dumps(page.to_json(), indent=2) + "\n"


def file_of(page: Dashboard) -> Path:
    """Return the file of a dashboard."""
    return FOLDER / f"{page.uid.removeprefix('backline-')}.json"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for page in PAGES:
        file_of(page).write_text(text(page), encoding="utf-8")
        sys.stdout.write(f"wrote {file_of(page)}\n")


if __name__ == "__main__":
    main()
