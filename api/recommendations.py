"""The route of recommendations: what the last job of their kind has worked out for a user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from api.access.visit import Searcher
from api.services import InjectedDb
from shared.clock import now
from shared.model import Body, Db, Json
from shared.store import catalogue, recommendations
from shared.store.database import library
from shared.store.indexes import IndexName
from shared.store.recommendations import BATCH_MAX, Recommendation

LIMIT = 20
ADVICE_NONE = (
    "Submit a job of the kind recommendations for this user, with this index. Where one has ended already, nothing is"
    " left in the index that this user has not seen."
)
ADVICE_EXPIRED = "They were worked out too long ago: submit a job of the kind recommendations for this user again."
ADVICE_LEFT = "Nothing is left in the index that this user has not seen: import or analyse more, and build it anew."
ADVICE_COLD = "Store what the user rates (ratings) or plays (listening_history), then submit the job again."

UserId = Annotated[str, Field(min_length=1, max_length=256, description="Whose they are")]
Index = Annotated[IndexName, Field(description="What they are out of")]
Limit = Annotated[int, Field(ge=1, le=BATCH_MAX, description="How many at most, the best first")]

EXAMPLE: Json = {
    "userId": "ada",
    "index": "catalogue",
    "recommendations": [
        {
            "itemId": "mal-5114",
            "trackId": None,
            "title": "Fullmetal Alchemist: Brotherhood",
            "score": 0.81,
            "rank": 1,
            "reason": "Because you rated Hunter x Hunter 9; shares shounen, adventure.",
        }
    ],
    "coldStart": False,
    "expired": False,
    "createdAt": "2026-11-21T12:00:00Z",
    "expiresAt": "2026-11-28T12:00:00Z",
    "jobId": "job_019a",
    "advice": None,
}

router = APIRouter(prefix="/api/recommendations", tags=["recommendations"])


class RecommendedThing(Body):
    """Something that a user may like."""

    item_id: str | None = Field(description="Of an entry of the catalogue")
    track_id: str | None = Field(description="Of a track")
    title: str | None
    score: float = Field(description="Above 0, up to 1; higher is better, comparable within one list")
    rank: int = Field(description="From 1")
    reason: str = Field(description="Why, in words")


class RecommendationList(Body):
    """What a user may like, the best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    user_id: str
    index: IndexName
    recommendations: tuple[RecommendedThing, ...]
    cold_start: bool = Field(description="Nothing was known that the user likes, so these are for everybody")
    expired: bool = Field(description="There were some, which are shown no longer")
    created_at: datetime | None = Field(description="When they, or those before them, were worked out")
    expires_at: datetime | None
    job_id: str | None = Field(description="By which job, or which job found that nothing is left")
    advice: str | None = Field(description="What to do for better ones, or for any at all")


@router.get("", summary="Read a user's recommendations", response_model=RecommendationList)
def read_recommendations(
    who: Searcher,
    db: InjectedDb,
    user_id: Annotated[UserId, Query(alias="userId")],
    index: Annotated[Index, Query()] = IndexName.CATALOGUE,
    limit: Annotated[Limit, Query()] = LIMIT,
) -> RecommendationList:
    """What the newest job of the kind `recommendations` has worked out, with a reason for each."""
    return find(db, who.owner, user_id=user_id, index=index, limit=limit)


def find(db: Db, owner: str, *, user_id: str, index: IndexName, limit: int) -> RecommendationList:
    """Return a user's newest batch, or why there is none."""
    own = library(db, owner)
    batch = recommendations.newest(own, user_id, index)
    withdrawn_by = batch[0].withdrawn_by if batch else None
    is_over = bool(batch) and batch[0].expires_at <= now()
    shown = () if is_over else tuple(_thing(one) for one in _still_there(own, batch)[:limit])
    is_cold = bool(shown) and batch[0].cold_start
    is_expired = is_over and withdrawn_by is None
    return RecommendationList(
        user_id=user_id,
        index=index,
        recommendations=shown,
        cold_start=is_cold,
        expired=is_expired,
        created_at=batch[0].created_at if batch else None,
        expires_at=batch[0].expires_at if batch else None,
        job_id=withdrawn_by or (batch[0].job_id if batch else None),
        advice=ADVICE_LEFT if withdrawn_by else _advice(is_expired=is_expired, is_cold=is_cold, is_empty=not shown),
    )


def _still_there(own: Db, batch: Sequence[Recommendation]) -> list[Recommendation]:
    """Return the recommendations without what has gone from the catalogue since."""
    removed = catalogue.find_removed(own, [one.item_id for one in batch if one.item_id is not None])
    return [one for one in batch if one.item_id not in removed]


def _advice(*, is_expired: bool, is_cold: bool, is_empty: bool) -> str | None:
    if is_expired:
        return ADVICE_EXPIRED
    if is_empty:
        return ADVICE_NONE
    return ADVICE_COLD if is_cold else None


def _thing(one: Recommendation) -> RecommendedThing:
    return RecommendedThing(
        item_id=one.item_id,
        track_id=one.track_id,
        title=one.title,
        score=one.score,
        rank=one.rank,
        reason=one.reason,
    )
