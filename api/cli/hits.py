"""What a search has found, as people read it."""

from __future__ import annotations

from api.cli import output
from api.cli.client import Json

ATTRIBUTES = ("type", "year", "episodes", "tempo", "energy", "valence")
MATCHES_SHOWN = 3


def print_hits(answer: Json, *, as_json: bool) -> None:
    """Print a table of the hits, or the answer as it came."""
    if as_json:
        output.print_json(answer)
        return
    if not answer["hits"]:
        output.say("Nothing was found.")
        return
    known = [name for name in ATTRIBUTES if any(name in hit["attributes"] for hit in answer["hits"])]
    rows = (
        [*_names(hit), *(hit["attributes"].get(name) for name in known), _why(hit["why"])] for hit in answer["hits"]
    )
    output.stdout().print(output.table(("id", "title", *known, "why"), rows, right=known[1:]))
    if not answer["index"]["isCurrent"]:
        output.say("An older state of the index answered: the newest can't be opened. See `backline status`.")


def _names(hit: Json) -> tuple[str, str | None]:
    name = hit["itemId"] if hit["itemId"] is not None else f"{hit['trackId']} ({hit['userId']})"
    return name, hit["title"]


def _why(why: Json) -> str:
    words = [f"{one['asked']} in {one['field']}" for one in why["matches"][:MATCHES_SHOWN]]
    words += [f"{name} no. {part['rank']}" for name, part in why["parts"].items()]
    words += [f"near in {one['feature']}" for one in why["features"]]
    return ", ".join(words)
