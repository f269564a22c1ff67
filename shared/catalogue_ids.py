"""Which page an id of a catalogue's entry speaks of: the ids of well-known sites are known to clients as well."""

from __future__ import annotations

import re

PAGES = {
    "mal": "https://myanimelist.net/anime/",
    "anilist": "https://anilist.co/anime/",
    "kitsu": "https://kitsu.app/anime/",
    "anidb": "https://anidb.net/anime/",
}
"""By the prefix of an id; an import gives these prefixes, and knows no `shared`: a test holds the two together."""

_ID = re.compile(rf"({'|'.join(PAGES)})-([1-9][0-9]{{0,17}})")


def page_of(item_id: str) -> str | None:
    """Return the page that an id speaks of, as entries keep it among their sources; None for ids of no such site."""
    found = _ID.fullmatch(item_id)
    return f"{PAGES[found[1]]}{found[2]}" if found else None
