"""What a user did with things, and how much each of it says about their taste."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log

import numpy as np

HALF_LIFE = timedelta(days=180)
"""After so long a sign counts half; taste in music and series changes over seasons, not over days."""
WEIGHT_MIN = 0.1  # of recency: an old favourite never quite goes
UNDATED = 0.5  # the recency of what has no time

SCORE_LOWEST, SCORE_HIGHEST = 1.0, 10.0
GOOD = 7.0
"""From here on a score is praise, also by a user whose mean is higher."""
MIDDLING = 5.0
"""Below it a score is no praise, also by a user whose mean is lower."""
PLAYS_MANY = 10  # plays that say as much as the best score; each further one says ever less

# Statuses as the lists of MyAnimeList, AniList, Kitsu and Anime-Planet call them, without what parts their words.
PLANNED = frozenset(("planned", "planning", "plantowatch", "wanttowatch", "wishlist"))
"""What stands on a list for later was not seen, and says nothing about taste: it may be recommended."""
DROPPED = frozenset(("dropped", "abandoned"))
WATCHING = frozenset(("watching", "current"))
_BY_STATUS = {
    **dict.fromkeys(("completed", "watched", *WATCHING), 0.3),
    **dict.fromkeys(("rewatching", "repeating"), 0.5),
}
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_DROPPED_WEIGHT = -0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """What a user did with one thing, which they rated, or heard, or both."""

    # the entry's id
    item: str
    # 1 to 10; None for no opinion
    score: float | None = None
    # watching, completed, dropped, planned, ...
    status: str | None = None
    plays: int = 0
    # when it was last touched; None where that is not known
    at: datetime | None = None

    @property
    def is_planned(self) -> bool:
        """Whether it only stands on a list for later."""
        return self.state in PLANNED and self.score is None and not self.plays

    @property
    def is_watching(self) -> bool:
        """Whether the user is in the middle of it."""
        return self.state in WATCHING

    @property
    def state(self) -> str:
        """The status, however its words are parted: Plan to Watch and plan_to_watch are one."""
        return _BETWEEN_WORDS.sub("", self.status or "").casefold()


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaning:
    """A sign, and what it says: above 0 for what is liked, below for what is not."""

    sign: Sign
    # -1 to 2, recency included
    weight: float


def leanings(signs: Iterable[Sign], moment: datetime) -> list[Leaning]:
    """Return what each sign says at a moment, the strongest liking first, equals by id."""
    known = list(signs)
    centre = _centre([sign.score for sign in known if sign.score is not None])
    found = [Leaning(sign=sign, weight=_worth(sign, centre) * recency(sign.at, moment)) for sign in known]
    return sorted(found, key=lambda one: (-one.weight, one.sign.item))


def recency(at: datetime | None, moment: datetime) -> float:
    """Return how much a time still counts, `WEIGHT_MIN` to 1: half after each `HALF_LIFE`; the future is now."""
    if at is None:
        return UNDATED
    half_lives = min(max((moment - at) / HALF_LIFE, 0.0), 64.0)
    return max(float(2.0**-half_lives), WEIGHT_MIN)


def _centre(scores: Sequence[float]) -> float:
    """Return the score that says nothing: the user's mean, within what is neither blame nor praise for anybody."""
    return float(np.clip(np.mean(scores), MIDDLING, GOOD)) if scores else GOOD


def _worth(sign: Sign, centre: float) -> float:
    worth = log(1 + sign.plays) / log(1 + PLAYS_MANY)
    if sign.score is not None:
        room = SCORE_HIGHEST - centre if sign.score >= centre else centre - SCORE_LOWEST
        # What is exactly the mean still was chosen, if it is good.
        worth += max((sign.score - centre) / room, 0.1 if sign.score >= GOOD else -1.0)
    elif not sign.is_planned:
        worth += _BY_STATUS.get(sign.state, 0.0)
    if sign.state in DROPPED:
        worth = min(worth, _DROPPED_WEIGHT)
    return float(np.clip(worth, -1.0, 2.0))
