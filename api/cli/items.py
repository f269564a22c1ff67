"""All items of jobs, read page by page as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from api.cli.client import Client, Json
from api.cli.watching import FINAL

GOOD = ("succeeded", "cached")
NOT_GOOD = ("failed", "cancelled")


def read_items(client: Client, job_id: str, *, statuses: Sequence[str] = ()) -> Iterator[Json]:
    """Yield the items of a job that have an outcome so far, in its order."""
    after: str | None = None
    while True:
        page = client.items(job_id, statuses=statuses, after=after)
        yield from page["items"]
        moved = bool(page["items"]) or page["nextCursor"] != after
        after = page["nextCursor"]
        if after is None:
            return
        if not moved and page["jobStatus"] not in FINAL:
            return


def read_all(client: Client, jobs: Iterable[Json], *, statuses: Sequence[str] = ()) -> Iterator[Json]:
    """Yield the items of several jobs in turn, numbered as one list."""
    base = 0
    for job in jobs:
        for item in read_items(client, job["id"], statuses=statuses):
            yield {**item, "index": base + item["index"]}
        base += job["progress"]["total"]
