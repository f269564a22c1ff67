"""What a file says of itself: the tags by which a recording is known elsewhere."""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, BinaryIO

import mutagen

logger = logging.getLogger(__name__)

TEXT_MAX = 512  # characters
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
"""Country, registrant, year and number (ISO 3901)."""
ID3_NAMES = {"isrc": ("TSRC",), "title": ("TIT2",), "artist": ("TPE1",)}
MUSICBRAINZ_OWNER = "http://musicbrainz.org"
RECORDING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The tags of a recording; None where there is none, or none that can be one."""

    title: str | None
    artist: str | None
    isrc: str | None  # ISO 3901, without hyphens
    recording_id: str | None  # MusicBrainz' of the recording
    seconds: float | None


def read_tags(file: BinaryIO) -> Tags | None:
    """Return what an open file says of itself; None where it can't be read. Its place in the file is moved."""
    try:
        file.seek(0)
        found = mutagen.File(file)
        return None if found is None else _tags(found)
    except Exception as error:  # noqa: BLE001 - a broken file may make the reader raise anything, and is heard all the same
        logger.info("no tags could be read: %s", type(error).__name__)
        return None


def _tags(found: Any) -> Tags:
    isrc = (_text(found, "isrc", "TSRC", "----:com.apple.iTunes:ISRC") or "").upper().replace("-", "").strip()
    recording = _text(
        found,
        "musicbrainz_trackid",
        f"UFID:{MUSICBRAINZ_OWNER}",
        "----:com.apple.iTunes:MusicBrainz Track Id",
        "MUSICBRAINZ_TRACKID",
    )
    recording = (recording or "").lower().strip()
    seconds = getattr(found.info, "length", None)
    return Tags(
        title=_text(found, "title", "TIT2", "\xa9nam", "Title"),
        artist=_text(found, "artist", "TPE1", "\xa9ART", "Artist"),
        isrc=isrc if ISRC.fullmatch(isrc) else None,
        recording_id=recording if RECORDING.fullmatch(recording) else None,
        seconds=float(seconds) if seconds else None,
    )


def _text(found: Any, *names: str) -> str | None:
    """Return the first value under the first of these names: of Vorbis comments, ID3, MP4 and APE."""
    for name in names:
        try:
            value = found[name]
        except (KeyError, ValueError, TypeError):
            continue
        data = getattr(value, "data", None)  # of an ID3 frame that holds bytes
        first = data if isinstance(data, bytes) else _first(getattr(value, "text", value))
        text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
        if text.strip():
            return text.strip()[:TEXT_MAX]
    return None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value


GUESTS = re.compile(r"[(\[](?:feat|ft|with)\b.*?[)\]]|\b(?:feat|ft)\.? .*$")
EDITION = re.compile(r"\s+-\s+.*(?:remaster|version|edit|mono|stereo).*$|[(\[][^)\]]*remaster[^)\]]*[)\]]")


def name_key(text: str | None) -> str:
    """Return a title or an artist in a form in which different spellings are the same."""
    plain = unicodedata.normalize("NFKD", (text or "").casefold())
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    plain = EDITION.sub(" ", GUESTS.sub(" ", plain))
    return " ".join(re.findall(r"\w+", plain))
