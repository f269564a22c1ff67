"""The work of the job kind `recommendations`: what a user did in, a batch of recommendations stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from shared.clock import now
from shared.errors import ItemFailed
from shared.items import ItemOutcome, succeeded
from shared.jobs.job import JobContext
from shared.jobs.recommendations import Item, Request, Result
from shared.store import catalogue, listening_history, ratings, recommendations
from shared.store.indexes import IndexName
from shared.store.recommendations import Recommendation, recommendation_id
from workers.indexing.failures import as_job_failures
from workers.indexing.models import text_embedder
from workers.taste.collection import TEXT_SPACE, Collection
from workers.taste.current import Current, current
from workers.taste.pool import title_of, track_of
from workers.taste.recommend import Recommendations, Wishes, recommend
from workers.taste.signs import Sign, leanings
from workers.vectors.embedding import Floats


def recommend_to_users(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each user's outcome: their batch is stored when it comes."""
    with as_job_failures():
        index = current(context, request.index)
        vector = _context_vector(request, index, context)
        collection = index.collection
        excluded = list(_meant(request, collection, request.user_id, request.exclude, context).values())
        for item in items:
            yield succeeded(_recommend(request, item, context, collection, vector, excluded))


def _recommend(
    request: Request,
    item: Item,
    context: JobContext,
    collection: Collection,
    vector: Floats | None,
    excluded: Sequence[str],
) -> Result:
    signs = _signs(request, collection, item.user_id, context)
    wishes = Wishes(
        limit=request.limit,
        liked_tags=request.liked_tags,
        context=vector,
        context_words=request.context,
        excluded=[*excluded, *(sign.item for sign in signs if not sign.is_planned)],
        planned=frozenset(sign.item for sign in signs if sign.is_planned),
    )
    moment = now()
    answer = recommend(collection, leanings(signs, moment), wishes)
    if answer.found:
        recommendations.insert(context.library, _batch(request, item, context, collection, answer, moment))
    else:
        recommendations.withdraw(context.library, item.user_id, request.index, context.job_id, moment)
    return Result(
        user_id=item.user_id,
        index=request.index,
        recommended=len(answer.found),
        cold_start=answer.is_cold_start,
        created_at=moment,
    )


def _signs(request: Request, collection: Collection, user_id: str, context: JobContext) -> list[Sign]:
    """Return what a user did with entries of the index; what it does not have says nothing."""
    may_train = context.settings.spotify_may_train
    rated = {one.item_id: one for one in ratings.rated(context.library, user_id)}
    signs: dict[str, Sign] = {}
    for name, one in _meant(request, collection, user_id, list(rated), context).items():
        # What was said of an entry itself holds before what was said of one that it has taken in.
        if name == one or one not in signs:
            rating = rated[name]
            signs[one] = Sign(item=one, score=rating.score, status=rating.status, at=rating.updated_at)
    played = listening_history.played(context.library, user_id, with_spotify=may_train)
    collection.read_meant(user_id, [one.track_id for one in played])
    for heard in played:
        meant = collection.find(user_id, heard.track_id)
        if meant is not None:
            signs[meant] = _with_plays(signs.get(meant, Sign(item=meant)), heard.plays, heard.last_at)
    return list(signs.values())


def _meant(
    request: Request, collection: Collection, user_id: str, names: Sequence[str], context: JobContext
) -> dict[str, str]:
    """Return the entries that a user means by some names, as far as the index has them.

    An entry of the catalogue is also meant by a name that has become another's, as when two entries became one.
    """
    collection.read_meant(user_id, names)
    found = {name: one for name in names if (one := collection.find(user_id, name)) is not None}
    lost = [name for name in names if name not in found]
    if not lost or request.index is not IndexName.CATALOGUE:
        return found
    living = catalogue.find_living(context.library, lost)
    collection.read(living.values())
    return found | {name: one for name, one in living.items() if collection.has(one)}


def _with_plays(sign: Sign, plays: int, at: datetime | None) -> Sign:
    times = [one for one in (sign.at, at) if one is not None]
    return Sign(
        item=sign.item,
        score=sign.score,
        status=sign.status,
        plays=sign.plays + plays,
        at=max(times) if times else None,
    )


def _batch(
    request: Request,
    item: Item,
    context: JobContext,
    collection: Collection,
    answer: Recommendations,
    moment: datetime,
) -> list[Recommendation]:
    expires_at = moment + timedelta(days=request.expires_days)
    is_track = request.index is IndexName.TRACKS
    batch = []
    for rank, one in enumerate(answer.found, 1):
        entry = collection.entry(one.id)
        batch.append(
            Recommendation(
                id=recommendation_id(request.index, context.job_id, item.user_id, rank),
                user_id=item.user_id,
                index=request.index,
                track_id=track_of(entry) if is_track else None,
                item_id=None if is_track else one.id,
                title=title_of(entry),
                score=one.score,
                rank=rank,
                reason=one.reason,
                cold_start=answer.is_cold_start,
                created_at=moment,
                expires_at=expires_at,
                job_id=context.job_id,
            )
        )
    return batch


# The context


def _context_vector(request: Request, index: Current, context: JobContext) -> Floats | None:
    """Return the vector of what the recommendations are for. Raises `ItemFailed` where the index can't be asked so."""
    if request.context is None:
        return None
    if not index.collection.has_space(TEXT_SPACE):
        raise ItemFailed(
            "no_text", f"The index {request.index.value!r} has no vectors of text to hold a context against."
        )
    embedder = text_embedder(context.settings)
    if index.pointer.embedder not in (None, embedder.id):
        raise ItemFailed(
            "other_embedder",
            f"The index was built with {index.pointer.embedder}, and this worker has {embedder.id}: build it anew.",
        )
    return embedder.embed_query(request.context)
