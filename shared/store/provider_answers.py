"""The `provider_answers` collection: what each provider said of a track, for whoever asks next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import IndexModel, ReplaceOne

from shared.clock import now
from shared.model import Db, Record
from shared.providers import Provider
from shared.store.merging import insert_or_update

COLLECTION = "provider_answers"


class ProviderAnswer(Record):
    """What one provider said of one track; nothing where it does not know it."""

    id: str = Field(alias="_id")  # provider:trackId
    provider: Provider
    track_id: str  # of audio that was sent to it, the content hash
    values: dict[str, float | int] = Field(default_factory=dict)
    fetched_at: datetime
    expires_at: datetime

    @property
    def is_known(self) -> bool:
        """Whether the provider knows the track."""
        return bool(self.values)


def answer_id(provider: Provider, track_id: str) -> str:
    """Return the key under which an answer stands."""
    return f"{provider.value}:{track_id}"


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def find(db: Db, providers: Sequence[Provider], track_ids: Sequence[str]) -> dict[tuple[Provider, str], ProviderAnswer]:
    """Return the answers of these providers about these tracks that may still be used."""
    ids = [answer_id(provider, track_id) for provider in providers for track_id in track_ids]
    moment = now()
    found = (ProviderAnswer.from_document(document) for document in db[COLLECTION].find({"_id": {"$in": ids}}))
    return {(one.provider, one.track_id): one for one in found if one.expires_at > moment}


def save(
    db: Db,
    provider: Provider,
    values: Mapping[str, Mapping[str, float | int]],
    *,
    known_for: timedelta,
    unknown_for: timedelta,
) -> None:
    """Keep what a provider said, by track id; nothing said means that it does not know the track."""
    moment = now()
    answers = [
        ProviderAnswer(
            id=answer_id(provider, track_id),
            provider=provider,
            track_id=track_id,
            values=dict(said),
            fetched_at=moment,
            expires_at=moment + (known_for if said else unknown_for),
        )
        for track_id, said in values.items()
    ]
    documents = [one.to_document() for one in answers]
    updates = [ReplaceOne({"_id": document["_id"]}, document, upsert=True) for document in documents]
    insert_or_update(db[COLLECTION], documents, updates)
