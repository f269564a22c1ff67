"""ReccoBeats: features of tracks by their Spotify ids, or of audio that it is sent, without an account."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from shared.ladder import known_values
from shared.providers import FIELDS, UPLOADS, Provider
from shared.settings import Settings
from workers.providers.errors import Malformed, Refused, Throttled, Transient
from workers.providers.line import Line
from workers.providers.service import PAUSE_SECONDS, Metadata, is_spotify_id, retry_after_seconds

ENDPOINT, TRACKS = "audio-features", "track"
ANALYSIS_PATH = "analysis/audio-features"
HEARD = frozenset(FIELDS) - {"key", "mode", "time_signature", "duration_ms"}
"""What it says of audio that it is sent."""
Said = TypeVar("Said")
IDS_MAX = 40

# It logs each call, with all its ids.
logging.getLogger("httpx").setLevel(logging.WARNING)


class ReccoBeats:
    """Asks ReccoBeats."""

    provider = Provider.RECCOBEATS
    batch_size = names_size = IDS_MAX

    def __init__(self, line: Line, settings: Settings) -> None:
        """Prepare; nothing is sent."""
        self._line = line
        timeout = httpx.Timeout(settings.provider_timeout_seconds, connect=settings.provider_connect_seconds)
        self._client = httpx.Client(base_url=settings.reccobeats_url, timeout=timeout)

    def takes(self, track_id: str) -> bool:
        """Whether the id is written as Spotify writes them."""
        return is_spotify_id(track_id)

    def features(self, track_ids: Sequence[str]) -> Mapping[str, Mapping[str, float | int]]:
        """Return what it knows, by track id. Raises `ProviderError`."""
        return self._line.call(ENDPOINT, lambda: self._ask(track_ids))

    def names(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        """Return what some tracks are, by track id. Raises `ProviderError`."""
        return self._line.call(TRACKS, lambda: self._ask_for_tracks(track_ids))

    def hear(self, wav: bytes) -> Mapping[str, float | int]:
        """Return what it hears in the first 30 s of audio, in at most 5 MB of WAV. Raises `ProviderError`."""
        return self._line.call(UPLOADS, lambda: self._send(wav))

    def _send(self, wav: bytes) -> Mapping[str, float | int]:
        return _heard(self._answer("POST", ANALYSIS_PATH, files={"audioFile": ("clip.wav", wav, "audio/wav")}))

    def _ask(self, track_ids: Sequence[str]) -> Mapping[str, Mapping[str, float | int]]:
        return _by_id(self._get(ENDPOINT, track_ids), frozenset(track_ids), known_values)

    def _ask_for_tracks(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        return _by_id(self._get(TRACKS, track_ids), frozenset(track_ids), _metadata)

    def _get(self, endpoint: str, track_ids: Sequence[str]) -> httpx.Response:
        return self._answer("GET", endpoint, params={"ids": ",".join(track_ids)})

    def _answer(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **content)
        except httpx.HTTPError as error:  # a timeout, a broken connection, half an answer
            raise Transient(f"ReccoBeats can't be reached: {type(error).__name__}.") from None
        _check(answer)
        return answer

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        seconds = retry_after_seconds(answer.headers.get("retry-after"), PAUSE_SECONDS)
        raise Throttled(f"ReccoBeats wants {seconds:.0f} s of rest.", seconds=seconds)
    if status >= 500:
        raise Transient(f"ReccoBeats answers {status}.")
    if status != httpx.codes.OK:
        raise Refused(f"ReccoBeats answers {status}.", status=status)


def _heard(answer: httpx.Response) -> Mapping[str, float | int]:
    try:
        values = known_values(answer.json())
    except (ValueError, AttributeError):
        raise _malformed() from None
    found = {name: value for name, value in values.items() if name in HEARD}
    if not found:
        raise _malformed()
    return found


def _malformed() -> Malformed:
    return Malformed("ReccoBeats' answer is not what its documentation says.")


def _metadata(one: Mapping[str, Any]) -> Metadata:
    length = one.get("durationMs")
    return Metadata(
        title=str(one.get("trackTitle") or ""),
        artists=tuple(str(artist["name"]) for artist in one.get("artists") or ()),
        isrc=one.get("isrc"),
        seconds=length / 1000 if isinstance(length, int) else None,
    )


def _by_id(answer: httpx.Response, asked: frozenset[str], read: Callable[[Any], Said]) -> dict[str, Said]:
    """Return what is said, by the id at the end of `href`: the unknown is left out, and nothing is in order."""
    try:
        content = answer.json()["content"]
        found = {_id_of(one): read(one) for one in content}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _malformed() from None
    return {track_id: values for track_id, values in found.items() if track_id in asked}


def _id_of(one: Mapping[str, Any]) -> str:
    return str(one["href"]).rstrip("/").rpartition("/")[2].partition("?")[0]
