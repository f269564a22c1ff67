"""What a service that knows features looks like to those who ask it."""

from __future__ import annotations

import re
import string
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
PAUSE_SECONDS_MIN = 1.0
"""A provider that is throttling and wants no rest at all would be asked without end."""
ID = re.compile(r"[0-9A-Za-z]{22}")
DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase


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

    @property
    def names_size(self) -> int:
        """Return what how many tracks are one call tells; it may change with what is learnt of the service."""

    def names(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        """Return what some tracks are, by track id, as far as it knows: `names_size` at most, in one call.

        Raises `ProviderError`.
        """


def is_spotify_id(text: str) -> bool:
    """Whether an id is one of Spotify's: a number of 128 bits in 22 digits of 62."""
    return (
        ID.fullmatch(text) is not None
        and sum(DIGITS.index(digit) * 62**place for place, digit in enumerate(reversed(text))) < 2**128
    )


def retry_after_seconds(text: str | None, default: float) -> float:
    """Return for how long to stay away, from seconds or a date (RFC 9110), within reason."""
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, default)
    return min(max(seconds, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX) if seconds == seconds else default  # NaN


def _until(text: str, default: float) -> float:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return default
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
