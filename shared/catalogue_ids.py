"""Under which ids entries of a catalogue are known: those that the sites give which others know."""

from __future__ import annotations

import re

PROVIDERS = {
    "myanimelist": ("myanimelist.net", "mal"),
    "anilist": ("anilist.co", "anilist"),
    "kitsu": ("kitsu.app", "kitsu"),
    "anidb": ("anidb.net", "anidb"),
}
"""The sites whose ids others know, in the order in which those are taken as an entry's own: host, and prefix of ids."""

_HOSTS = {prefix: host for host, prefix in PROVIDERS.values()}
_ID = re.compile(rf"({'|'.join(_HOSTS)})-([1-9][0-9]{{0,17}})")


def page_of(item_id: str) -> str | None:
    """Return the page that an id speaks of, as entries keep it among their sources; None for ids of no such site."""
    found = _ID.fullmatch(item_id)
    return f"https://{_HOSTS[found[1]]}/anime/{found[2]}" if found else None
