"""Why items failed, grouped by reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from api.cli.client import Json

EXAMPLES = 3
HINTS = {
    "outside_roots": "Open its folder to the workers: `backline up --music DIR`.",
    "not_found": "Check that the workers see the file under this very path.",
    "unreadable": "Check the rights of the file.",
}


@dataclass(kw_only=True)
class Reason:
    """One code of failure: how often, and some of the items that have it."""

    code: str
    count: int = 0
    examples: list[Json] = field(default_factory=list)

    def add(self, item: Json) -> None:
        """Count a failed item, and keep it where examples are few."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"item": name_of(item), "message": item["error"]["message"]})

    def to_json(self) -> Json:
        """Return the reason for programs."""
        return {"code": self.code, "count": self.count, "examples": self.examples}


def name_of(item: Json) -> str:
    """Return what an item of any kind is called: its path or its id where it has one."""
    what = item["item"]
    for name in ("path", "trackId"):
        if isinstance(what.get(name), str):
            return str(what[name])
    return ", ".join(f"{name}={value}" for name, value in what.items() if value is not None)


def group(items: Iterable[Json]) -> Sequence[Reason]:
    """Return the reasons of the failed items among `items`, the most frequent first."""
    reasons: dict[str, Reason] = {}
    for item in items:
        if item.get("error"):
            code = item["error"]["code"]
            reasons.setdefault(code, Reason(code=code)).add(item)
    return sorted(reasons.values(), key=lambda reason: (-reason.count, reason.code))
