"""What a service that knows features looks like to those who ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from shared.providers import Provider

PAUSE_SECONDS = 5.0
"""For a provider that is throttling and does not say for how long."""
QUOTA_PAUSE_SECONDS = 3600.0
"""For one whose quota is spent, and that does not say until when."""
PAUSE_SECONDS_MAX = 31 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a provider says a track is."""

    title: str
    artists: tuple[str, ...]
    isrc: str | None
    seconds: float | None


class FeatureService(Protocol):
    """A provider that is asked for features over the network, many tracks at a time."""

    @property
    def provider(self) -> Provider:
        """Return who it is."""

    @property
    def batch_size(self) -> int:
        """Return how many tracks one call may ask for."""

    def takes(self, track_id: str) -> bool:
        """Whether the id is one of those that it could know."""

    def features(self, track_ids: Sequence[str]) -> Mapping[str, Mapping[str, float | int]]:
        """Return what it knows, by track id; an id that is left out it does not know. Raises `ProviderError`."""

    def metadata(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        """Return what the tracks are, by track id, as far as it knows. Raises `ProviderError`."""


def retry_after_seconds(text: str | None, default: float) -> float:
    """Return for how long to stay away, from seconds or a date (RFC 9110), within reason."""
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, default)
    return min(max(seconds, 0.0), PAUSE_SECONDS_MAX) if seconds == seconds else default  # NaN is no number


def _until(text: str, default: float) -> float:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return default
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
