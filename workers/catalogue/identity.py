"""Who an entry is: the providers' ids in its sources, and the document that it is, whatever order entries come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

SOURCE_MAX = 2048  # characters of an address
ADDRESS = re.compile(
    r"(?:https?:)?//(?:www\.)?([^/?#\s@:]+\.[^/?#\s@]+)(/[^?#\s]*)?(\?[^#\s]*)?(?:#\S*)?", re.IGNORECASE
)
MOVED = {"kitsu.io": "kitsu.app"}
HASH_DIGITS = 12


PROVIDERS = {
    "myanimelist": ("myanimelist.net", "mal"),
    "anilist": ("anilist.co", "anilist"),
    "kitsu": ("kitsu.app", "kitsu"),
    "anidb": ("anidb.net", "anidb"),
}
"""The sites whose ids others know, in the order in which those are taken as an entry's own: host, and prefix of ids."""

NAMES, PREFIXES = tuple(PROVIDERS), tuple(prefix for _, prefix in PROVIDERS.values())
PLACES = {host: place for place, (host, _) in enumerate(PROVIDERS.values())}
PAGE = re.compile(rf"https://({'|'.join(re.escape(host) for host in PLACES)})/anime/0*([0-9]{{1,18}})(?:[/?].*)?")

URN_TRACK, URN_ISRC, URN_HASH = "urn:track:", "urn:isrc:", "urn:hash:"
TRACK_RANKS = {URN_TRACK: 0, URN_ISRC: 1, URN_HASH: len(PROVIDERS) + 1}


def canonical(address: str) -> str | None:
    """Return the one way to write an address of a page: https, no www, no trailing slash or fragment; None for others.

    A site that moved is known by its new name, so that a move changes nobody's identity; and whatever a well-known
    provider's address says behind the id, a title say, is left out.
    """
    found = ADDRESS.fullmatch(address) if len(address) <= SOURCE_MAX else None
    if found is None:
        return None
    host, path, query = found.groups()
    host = host.lower()
    address = f"https://{MOVED.get(host, host)}{(path or '').rstrip('/')}{query or ''}"
    page = PAGE.fullmatch(address)
    return f"https://{page[1]}/anime/{page[2]}" if page else address


def provided(source: str) -> tuple[int, int] | None:
    """Return a well-known provider's place in `PROVIDERS` and its id of an entry, or None for other sources."""
    found = PAGE.fullmatch(source)
    return (PLACES[found.group(1)], int(found.group(2))) if found else None


def ids_of(sources: Sequence[str]) -> dict[str, str]:
    """Return the lowest id at each provider that is among the sources, by the provider's name."""
    found = sorted(filter(None, map(provided, sources)), reverse=True)
    return {NAMES[place]: str(number) for place, number in found}


def rank(source: str) -> tuple[int, int, str]:
    """Return what sources are sorted by, best first: the provider, then the lower id, then the text."""
    found = provided(source)
    if found is not None:
        return *found, source
    scheme = next((scheme for scheme in TRACK_RANKS if source.startswith(scheme)), "")
    return TRACK_RANKS.get(scheme, len(PROVIDERS)), 0, source


def best_first(sources: Sequence[str]) -> list[str]:
    """Return the sources, that of the best provider first."""
    return sorted(sources, key=rank)


def candidates(sources: Sequence[str], catalogue: str) -> Iterator[str]:
    """Yield the ids that a new entry may have, the one that it should have first."""
    ordered = best_first(sources)
    for source in ordered:
        yield from _own_ids(source)
    yield "src-" + short_hash(ordered[0])
    yield "src-" + short_hash("\n".join((catalogue, *ordered)))


def _own_ids(source: str) -> Iterator[str]:
    found = provided(source)
    if found is not None:
        yield f"{PREFIXES[found[0]]}-{found[1]}"
    for scheme in TRACK_RANKS:
        if source.startswith(scheme):
            yield f"track-{source.removeprefix(scheme)}"


def short_hash(text: str) -> str:
    """Return 48 bits of a text's SHA-256, in hexadecimal."""
    return sha256(text.encode()).hexdigest()[:HASH_DIGITS]
