"""The words that recommendations and clusters have in common with whoever asks for them."""

from __future__ import annotations

from enum import StrEnum


class IndexName(StrEnum):
    """What is recommended from, or divided into clusters."""

    CATALOGUE = "catalogue"
    TRACKS = "tracks"

    @property
    def id_field(self) -> str:
        """The name under which clients know the id of one thing in it."""
        return "trackId" if self is IndexName.TRACKS else "itemId"
