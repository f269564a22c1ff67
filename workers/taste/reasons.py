"""Why something is recommended, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.taste.collection import Collection
from workers.taste.pool import artists_of, number_of, title_of
from workers.taste.preference import Preference
from workers.taste.signs import Leaning
from workers.vectors.embedding import Floats
from workers.vectors.schema import Entry

_ALIKE = 0.2  # a cosine below is no likeness to speak of
_TAGS_NAMED = 3
_TITLE_MAX, _CONTEXT_MAX = 80, 60  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class Wished:
    """What of the wishes an entry meets."""

    # as they are written
    tags: Sequence[str] = ()
    context: str | None = None
    is_planned: bool = False


def in_words(collection: Collection, taste: Preference, one: str, vector: Floats, wished: Wished) -> str:
    """Return a sentence: what that the user likes it is near to, which tags they share, which wishes it meets."""
    entry = collection.entry(one)
    parts = _liking(collection, taste, one, vector)
    if wished.tags:
        parts.append(f"has {_listed(wished.tags)}, as you asked")
    if wished.context:
        parts.append(f"near “{_cut(wished.context, _CONTEXT_MAX)}”")
    if wished.is_planned:
        parts.append("it is on your list")
    if not parts:
        parts.append(_unknown(entry, bool(taste.liked)))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _liking(collection: Collection, taste: Preference, one: str, vector: Floats) -> list[str]:
    """Return the liked thing that speaks most for an entry, and the tags that speak for it."""
    if not taste.liked:
        return []
    tags = collection.tags(one)
    liked = [tag for tag in sorted(tags, key=lambda tag: -taste.tags.get(tag, 0.0)) if taste.tags.get(tag, 0.0) > 0]
    nearest = _nearest(collection, taste, vector, liked)
    said = [] if nearest is None else [f"because you {_did(collection, nearest)}"]
    shared = [] if nearest is None else [tag for tag in liked if tag in collection.tags(nearest.sign.item)]
    if shared:
        said.append(f"shares {_listed([tags[tag] for tag in shared])}")
    elif liked:
        said.append(f"has tags that you like: {_listed([tags[tag] for tag in liked])}")
    return said


def _nearest(collection: Collection, taste: Preference, vector: Floats, liked: Sequence[str]) -> Leaning | None:
    """Return the liked thing that is most like an entry: one with a tag that speaks for it, if any; None for none."""
    likeness = taste.liked_vectors @ vector
    order = np.argsort(-likeness * [leaning.weight for leaning in taste.liked], kind="stable")
    alike = [taste.liked[place] for place in order if likeness[place] >= _ALIKE]
    sharing = (leaning for leaning in alike if not collection.tags(leaning.sign.item).keys().isdisjoint(liked))
    return next(sharing, next(iter(alike), None))


def _did(collection: Collection, leaning: Leaning) -> str:
    sign = leaning.sign
    name = name_of(collection.entry(sign.item))
    if sign.score is not None:
        return f"rated {name} {sign.score:g}"
    if sign.plays:
        return f"played {name} {f'{sign.plays} times' if sign.plays > 1 else 'once'}"
    return f"have {name} among what you {'watch' if sign.is_watching else 'have seen'}"


def name_of(entry: Entry) -> str:
    """Return what a person calls an entry."""
    title = title_of(entry)
    artists = artists_of(entry)
    if title is None:
        return entry.id.rpartition("\n")[2]
    return _cut(f"{title} by {artists[0]}" if artists else title, _TITLE_MAX)


def _unknown(entry: Entry, has_taste: bool) -> str:
    score = number_of(entry, "score")
    said = "well rated by others" if score is not None and score > 0 else "for variety"
    scored = f"{said} ({score:.1f})" if score is not None and score > 0 else said
    return scored if has_taste else f"nothing that you like is known yet: {scored}"


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(tags[:_TAGS_NAMED])


def _cut(text: str, most: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
