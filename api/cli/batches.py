"""From many entries to requests, each as large as one job may list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from api.cli.client import Json
from api.cli.inputs import Entry
from shared.jobs.audio_features import INLINE_MAX, Effort
from shared.paths import to_text

BODY_BYTES_MAX = 4 * 1024 * 1024  # half of what the API takes by default


def split(
    entries: Iterable[Entry], *, entries_max: int = INLINE_MAX, bytes_max: int = BODY_BYTES_MAX
) -> Iterator[list[Entry]]:
    """Yield the entries in order, in parts that fit into one request."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        length = _length(entry)
        if part and (len(part) == entries_max or size + length > bytes_max):
            yield part
            part, size = [], 0
        part.append(entry)
        size += length
    if part:
        yield part


def _length(entry: Entry) -> int:
    """Return about how many bytes an entry takes in a JSON body."""
    return len(str(entry).encode()) + 32


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How entries are to be worked on; what is not said is left to the API."""

    user: str | None = None
    effort: Effort | None = None
    force: bool = False
    index: bool = False


def to_request(entries: Sequence[Entry], manner: Manner) -> Json:
    """Return the body of an `audio_features` job for these entries."""
    pairs = [entry for entry in entries if entry.path is not None and entry.track_id is not None]
    request: Json = {
        "paths": [to_text(one.path) for one in entries if one.path is not None and one.track_id is None],
        "tracks": [{"trackId": one.track_id, "path": to_text(one.path)} for one in pairs if one.path is not None],
        "trackIds": [one.track_id for one in entries if one.path is None],
    }
    options: Json = {
        "userId": manner.user,
        "effort": manner.effort and manner.effort.value,
        "force": manner.force,
        "index": manner.index,
    }
    return {name: value for name, value in {**request, **options}.items() if value}
