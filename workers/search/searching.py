"""One search in one snapshot: the request becomes a query, what is found becomes hits that say why."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from shared.errors import EmbedderMismatch, EntryNotFound, InvalidCursor, InvalidRequest, SearchUnavailable
from shared.jobs.vector_index import join_track_key, split_track_key
from shared.playlists import Playlist, PlaylistRequest
from shared.search import (
    REACH,
    AnySearch,
    CatalogueSearch,
    Feature,
    Hit,
    Mode,
    SearchAnswer,
    TrackSearch,
)
from shared.store.indexes import IndexName, index_id
from workers.search.conditions import catalogue_conditions, targets_of, track_conditions
from workers.search.cursors import Position, fingerprint_of
from workers.search.hits import hits_of, info_of
from workers.search.meaning import QueryEmbedder
from workers.search.opened import OpenIndex, OpenIndexes
from workers.taste import playlists
from workers.vectors.collections import AUDIO, TEXT, TRACK
from workers.vectors.embedding import Floats, unit
from workers.vectors.engine import Index
from workers.vectors.errors import InvalidQuery, UnknownEntry, VectorsError
from workers.vectors.filters import Condition, Excluding, HasAny
from workers.vectors.query import DEPTH, Query
from workers.vectors.schema import Entry
from workers.vectors.targets import Target

SHORTEST = 1e-6
"""A vector below this length has no direction."""
DEFAULT_USER = "local"
"""Whose track is looked for first where no user is named, as in the requests of jobs."""
COPIES_MAX = 100
"""So many users' copies of one track are looked through."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What a request comes to in one snapshot."""

    text: str | None = None
    near: Mapping[str, Floats] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    conditions: Sequence[Condition] = ()
    # what hits are compared with to say why: the targets, or the features of the track that is asked about
    features: Mapping[str, Target] = field(default_factory=dict)


class Searcher:
    """Answers searches, from any number of threads."""

    def __init__(self, opened: OpenIndexes, embedder: QueryEmbedder) -> None:
        """Look in these indexes, with this model."""
        self._opened = opened
        self._embedder = embedder

    def answer(self, owner: str, search: AnySearch) -> SearchAnswer:
        """Return a page of hits in the owner's index.

        Raises:
            IndexMissing, IndexDamaged: if there is nothing to search.
            InvalidCursor: if the search can't go on from there.
            EntryNotFound: if what it asks about is not in the index.
            EmbedderMismatch: if words have another meaning there.
            InvalidRequest: if it asks for what this index does not have.
        """
        started = time.perf_counter()
        position = Position.parse(search)
        with self._opened.lent(index_id(owner, search.index), position.snapshot if position else None) as opened:
            try:
                meant = self._meant(opened, search)
                embedded = time.perf_counter()
                hits, cursor = self._page(opened, search, meant, position.offset if position else 0)
            except InvalidQuery as error:
                raise InvalidRequest(error.message) from None
            except VectorsError as error:  # another server's index or model
                raise SearchUnavailable(error.message) from None
            return SearchAnswer(
                hits=tuple(hits),
                next_cursor=cursor,
                index=info_of(search.index, opened),
                took_ms=_milliseconds(time.perf_counter() - started),
                embedding_ms=_milliseconds(embedded - started),
            )

    def playlist(self, owner: str, wanted: PlaylistRequest) -> Playlist:
        """Return the playlist that is asked for, out of the owner's tracks.

        Raises:
            IndexMissing, IndexDamaged: if there are none.
            EntryNotFound: if a track that it must have is not among them.
            SearchUnavailable: if the server that holds them does not answer.
        """
        with self._opened.lent(index_id(owner, IndexName.TRACKS)) as opened:
            try:
                return playlists.build(opened.snapshot, wanted)
            except UnknownEntry as error:
                raise EntryNotFound(error.message) from None
            except VectorsError as error:  # another server's index
                raise SearchUnavailable(error.message) from None

    def _page(
        self, opened: OpenIndex, search: AnySearch, meant: Sequence[Floats], offset: int
    ) -> tuple[list[Hit], str | None]:
        snapshot = opened.snapshot
        wanted = (
            _wanted_items(snapshot, search, meant)
            if isinstance(search, CatalogueSearch)
            else _wanted_tracks(snapshot, search, meant)
        )
        query = Query(
            text=wanted.text,
            near=wanted.near,
            targets=wanted.targets,
            conditions=wanted.conditions,
            k=search.limit + 1,
            offset=offset,
        )
        depth = REACH if query.rankings == 1 else DEPTH
        room = query.rankings * depth - offset
        if room <= 0:
            raise InvalidCursor("Nothing is behind this cursor.")
        found = snapshot.search(replace(query, depth=depth, k=min(query.k, room)))
        shown = [one for one in found[: search.limit] if _is_of_user(one.id, search)]
        hits = hits_of(snapshot, shown, search.index, wanted.features)
        if len(found) <= search.limit:
            return hits, None
        following = Position(snapshot=snapshot.name, offset=offset + search.limit, fingerprint=fingerprint_of(search))
        return hits, str(following)

    def _meant(self, opened: OpenIndex, search: AnySearch) -> list[Floats]:
        """Return the vector of the query's meaning, where that is asked for."""
        if search.query is None or search.mode is Mode.LEXICAL:
            return []
        if opened.published.embedder != self._embedder.id:
            raise EmbedderMismatch(
                f"The index was built with the model {opened.published.embedder}, not with {self._embedder.id}."
            )
        return [self._embedder.vector(search.query)]


def _wanted_items(snapshot: Index, search: CatalogueSearch, meant: Sequence[Floats]) -> _Wanted:
    near = [*meant, *_given(snapshot, search, TEXT)]
    conditions = catalogue_conditions(search.filters)
    if search.item_id is not None:
        near.append(_vector(snapshot, search.item_id, TEXT, search.item_id))
        conditions.append(Excluding((search.item_id,)))
    return _Wanted(text=_words(search), near=_middles({TEXT: near}), conditions=conditions)


def _wanted_tracks(snapshot: Index, search: TrackSearch, meant: Sequence[Floats]) -> _Wanted:
    sounds = _given(snapshot, search, AUDIO)
    conditions = track_conditions(search)
    targets = targets_of({feature.value: value for feature, value in search.targets.items()})
    features = targets
    if search.track_id is not None:
        seed = _seed(snapshot, search)
        sounds = [*sounds, _vector(snapshot, seed, AUDIO, search.track_id)]
        conditions.append(Excluding((seed,)))
        features = targets or targets_of(_features(snapshot.entry(seed)))
    return _Wanted(
        text=_words(search),
        near=_middles({TEXT: meant, AUDIO: sounds}),
        targets=targets,
        conditions=conditions,
        features=features,
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def _words(search: AnySearch) -> str | None:
    return None if search.mode is Mode.SEMANTIC else search.query


def _given(snapshot: Index, search: AnySearch, space: str) -> list[Floats]:
    """Return the vector that the request itself brings."""
    if search.vector is None:
        return []
    dimensions = snapshot.schema.spaces[space].dimensions
    vector = np.asarray(search.vector, np.float64)
    if len(vector) != dimensions:
        reason = f"has {len(vector)} numbers, where this index has {dimensions}"
        raise InvalidRequest(f"The vector {reason}.", fields=[("vector", reason)])
    if np.linalg.norm(vector) < SHORTEST:
        reason = "is zero, and near to nothing"
        raise InvalidRequest(f"The vector {reason}.", fields=[("vector", reason)])
    return [vector.astype(np.float32)]


def _middles(near: Mapping[str, Sequence[Floats]]) -> dict[str, Floats]:
    """Return one vector for each space: where several are wished for, the one between them."""
    return {space: _middle(vectors) for space, vectors in near.items() if vectors}


def _middle(vectors: Sequence[Floats]) -> Floats:
    if len(vectors) == 1:
        return vectors[0]
    middle = unit(np.stack(vectors)).sum(axis=0)
    # Opposite to each other: nothing is between them, so the first is as good as any.
    return middle if float(np.linalg.norm(middle)) > 1e-6 else vectors[0]


def _vector(snapshot: Index, entry_id: str, space: str, name: str) -> Floats:
    """Return the vector of what is asked about. Raises `EntryNotFound`."""
    try:
        (vector,) = snapshot.originals([entry_id], space)
    except UnknownEntry:
        raise EntryNotFound(
            f"{name!r} is not in the index, or has nothing there that others could be near to."
        ) from None
    return np.asarray(vector)


def _is_of_user(entry_id: str, search: AnySearch) -> bool:
    """Tell whether a hit is of the very user that is asked for: labels make no difference of case, users do."""
    user = search.user_id if isinstance(search, TrackSearch) else None
    return user is None or split_track_key(entry_id)[0] == user


def _seed(snapshot: Index, search: TrackSearch) -> str:
    """Return the entry of the track that is asked about: the user's own, or else the first of any user."""
    track_id = search.track_id or ""
    own = join_track_key(search.user_id or DEFAULT_USER, track_id)
    if snapshot.find(own) is not None:
        return own
    copies = snapshot.matching([HasAny(TRACK, (track_id,))], COPIES_MAX)
    exact = sorted(one for one in copies if split_track_key(one)[1] == track_id)
    return exact[0] if exact else own


def _features(entry: Entry) -> dict[str, float]:
    numbers = {feature.value: entry.attributes.get(feature.value) for feature in Feature}
    return {name: value for name, value in numbers.items() if isinstance(value, int | float) and math.isfinite(value)}
