"""From an entry as its source wrote it to the entry that is stored, or to the fault that keeps it out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workers.catalogue.document import ENTRY_BYTES_MAX, TOO_LARGE
from workers.catalogue.entry import Entry
from workers.catalogue.errors import EntryFault
from workers.catalogue.formats import TOO_WIDE, Form
from workers.catalogue.identity import URN_HASH, URN_ISRC, URN_TRACK, short_hash
from workers.catalogue.values import Values, wrong_type

TYPES = ("TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN")
STATUSES = ("FINISHED", "ONGOING", "UPCOMING", "UNKNOWN")
SEASONS = ("WINTER", "SPRING", "SUMMER", "FALL")
FIRST_YEAR = 1900
YEARS_AHEAD = 10
SCORE_MAX = 10.0
SCORE_DIGITS = 2  # a mean moves with every vote; the entry changes when people would see it
SCORES = ("arithmeticGeometricMean", "arithmeticMean", "median")
UNIT_SECONDS = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3600}
LONGEST_SECONDS = 7 * 86_400
TRACK_ID_MAX = 256
LARGE, WIDE = re.compile(TOO_LARGE + rb"(\d{1,18})(?: .*)?"), re.compile(TOO_WIDE + rb"(\d{1,9}) (\d{1,9})")
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}\d{7}")  # ISO 3901
SEPARATORS = ";|"  # between the names in a column
ALIASES = {
    "artist": "artists",
    "tag": "tags",
    "genres": "tags",
    "genre": "tags",
    "id": "trackid",
    "duration": "durationseconds",
    "source": "sources",
    "url": "sources",
}


@dataclass(frozen=True, kw_only=True)
class Read:
    """An entry, and what had to be put right in it."""

    entry: Entry
    warnings: Sequence[str]


def read(payload: bytes, form: Form) -> Read:
    """Return the entry in a line of JSON. Raises `EntryFault`, which names the field."""
    raw = _object_in(payload)
    values = Values(raw if form is Form.ANIME else _plain_names(raw))
    entry = _anime(values) if form is Form.ANIME else _track(values)
    return Read(entry=entry, warnings=tuple(values.warnings))


def _object_in(payload: bytes) -> Mapping[str, Any]:
    _check_it_is_there(payload)
    try:
        value = json.loads(payload.decode(), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise EntryFault("wrong_encoding", f"The entry is no UTF-8 from byte {error.start} on.") from None
    except (ValueError, RecursionError) as error:
        raise EntryFault("bad_json", f"The entry is no JSON: {str(error)[:200]}.") from None
    if not isinstance(value, dict):
        raise wrong_type("entry", "an object", value)
    return value


def _check_it_is_there(payload: bytes) -> None:
    """Raise `EntryFault` where a mark stands in place of the entry, and says why."""
    if found := LARGE.fullmatch(payload):
        raise EntryFault("too_large", f"The entry has {int(found[1]):,} bytes; {ENTRY_BYTES_MAX:,} is the most.")
    if found := WIDE.fullmatch(payload):
        cells, columns = map(int, found.groups())
        raise EntryFault("too_wide", f"The row has {cells} cells for {columns} columns: a cell may lack its quotes.")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _title(values: Values) -> str:
    title = values.text("title")
    if title is None:
        raise EntryFault("no_title", "The field 'title' is missing or empty.")
    return title


# Anime


def _anime(values: Values) -> Entry:
    sources = values.addresses("sources")
    if not sources:
        raise EntryFault("no_sources", "The field 'sources' holds no address of a page.")
    try:
        season = values.within("animeSeason")
        title = _title(values)
        return Entry(
            form=Form.ANIME,
            title=title,
            sources=sources,
            type=values.choice("type", TYPES, default="UNKNOWN"),
            episodes=values.whole("episodes"),
            status=values.choice("status", STATUSES, default="UNKNOWN"),
            season=season.choice("season", SEASONS, default=None, silent=("UNDEFINED",)),
            year=_year(season),
            picture=values.address("picture"),
            thumbnail=values.address("thumbnail"),
            duration_seconds=_duration(values),
            synonyms=_others(values.texts("synonyms"), title),
            studios=values.texts("studios"),
            producers=values.texts("producers"),
            tags=_lower(values.texts("tags")),
            score=_score(values),
            related=values.addresses("relatedAnime"),
        )
    except EntryFault as fault:
        fault.sources = sources
        raise


def _others(synonyms: Sequence[str], title: str) -> tuple[str, ...]:
    return tuple(one for one in synonyms if one != title)


def _lower(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.lower() for text in texts))


def _year(values: Values) -> int | None:
    return values.whole("year", least=FIRST_YEAR, most=datetime.now(UTC).year + YEARS_AHEAD)


def _duration(values: Values) -> int | None:
    """Return a duration in seconds, from an object with its unit or a number of seconds."""
    if not values.has("duration", lambda raw: isinstance(raw, dict)):
        return _seconds(values.whole("duration", most=LONGEST_SECONDS), 1)
    inner = values.within("duration", called="duration")
    unit = inner.choice("unit", UNIT_SECONDS, default=None)
    return _seconds(inner.whole("value", most=LONGEST_SECONDS), UNIT_SECONDS[unit]) if unit else None


def _seconds(value: int | None, unit: int) -> int | None:
    return value * unit if value else None  # no length is zero: it stands for one that nobody knows


def _score(values: Values) -> float | None:
    """Return the first of the means that there is, or a plain number."""
    if values.has("score", lambda raw: isinstance(raw, dict)):
        inner = values.within("score", called="score")
        number = next((one for name in SCORES if (one := inner.number(name)) is not None), None)
    else:
        number = values.number("score")
    if number is not None and not 0 <= number <= SCORE_MAX:
        values.warn("bad", "score")
        return None
    return None if number is None else round(float(number), SCORE_DIGITS)


# Tracks


def _plain_names(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields by their names in lower case without underscores, and by one name where there are several."""
    plain: dict[str, Any] = {}
    for name, value in raw.items():
        short = name.casefold().replace("_", "").replace(" ", "")
        plain.setdefault(ALIASES.get(short, short), value)
    if isinstance(plain.get("sources"), str):
        plain["sources"] = [one for one in re.split(r"[\s;|]+", plain["sources"]) if one]
    return plain


def _track(values: Values) -> Entry:
    title = _title(values)
    artists = values.texts("artists", separators=SEPARATORS)
    album = values.text("album")
    track_id, isrc = _track_id(values), _isrc(values)
    return Entry(
        form=Form.TRACKS,
        title=title,
        type="TRACK",
        sources=_track_sources(values, track_id, isrc, (title, *artists, album or "")),
        year=_year(values),
        picture=values.address("picture"),
        thumbnail=values.address("thumbnail"),
        duration_seconds=_track_seconds(values),
        synonyms=_others(values.texts("synonyms", separators=SEPARATORS), title),
        tags=_lower(values.texts("tags", separators=SEPARATORS)),
        score=_score(values),
        artists=artists,
        album=album,
        track_id=track_id,
        isrc=isrc,
    )


def _track_sources(values: Values, track_id: str | None, isrc: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of a track, and the names that it has everywhere, as URNs: at least one."""
    found = [*values.addresses("sources")]
    found += [URN_TRACK + track_id] if track_id else []
    found += [URN_ISRC + isrc] if isrc else []
    return tuple(sorted(found or [URN_HASH + short_hash("\n".join(names).casefold())]))


def _track_id(values: Values) -> str | None:
    track_id = values.name("trackid")
    if track_id is not None and len(track_id) > TRACK_ID_MAX:
        raise EntryFault("wrong_type", f"The field 'trackId' has more than {TRACK_ID_MAX} characters.")
    return track_id


def _isrc(values: Values) -> str | None:
    text = values.text("isrc")
    isrc = (text or "").upper().replace("-", "").replace(" ", "")
    if text is not None and not ISRC.fullmatch(isrc):
        values.warn("bad", "isrc")
        return None
    return isrc or None


def _track_seconds(values: Values) -> int | None:
    milliseconds = values.whole("durationms", most=LONGEST_SECONDS * 1000)
    if milliseconds:
        return round(milliseconds / 1000) or None
    seconds = values.number("durationseconds")
    if seconds is not None and not 0 <= seconds <= LONGEST_SECONDS:
        values.warn("bad", "duration")
        return None
    return (round(seconds) if seconds else None) or None
