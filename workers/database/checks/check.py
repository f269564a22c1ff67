"""The form that each check fills in; adding one is one class, and one line in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from shared.findings import CheckInfo, CollectionFigures, NotChecked, Severity, Tally
from shared.jobs.job import JobContext
from shared.library import COLLECTIONS as LIBRARY
from shared.model import Db, Json
from shared.store.id_ranges import shown_id
from workers.database.schema import Form

OPEN = Form(fields={})
"""The form of a collection that nothing is known of."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a check looks."""

    context: JobContext
    db: Db  # the owner's library
    is_operator: bool  # whether the engine's own records stand there, too
    collection: str
    form: Form | None  # None where nothing is known of it
    moment: datetime  # what lies behind it lies in the future
    settled: datetime  # what was made after it may not be whole yet
    query: Json = field(default_factory=dict)  # finds the documents of the range
    examples_max: int = 5
    expected_indexes: Mapping[str, Sequence[IndexModel]] = field(default_factory=dict)
    deep: bool = False
    has_bounds: bool = True  # whether the server's `$jsonSchema` can hold numbers against bounds, whatever they are

    @cached_property
    def indexes(self) -> Sequence[Json]:
        """The indexes that the collection has, as they were at the first look."""
        return existing(self.db, self.collection)

    @cached_property
    def is_there(self) -> bool:
        """Whether there is such a collection."""
        return next(iter(self.db.list_collections(filter={"name": self.collection})), None) is not None

    @property
    def is_ours(self) -> bool:
        """Whether the collection is Backline's own, so that nobody but its module knows what may be changed in it."""
        is_shared = self.form.is_clients if self.form is not None else self.collection in LIBRARY
        return not is_shared and (self.form is not None or self.collection in self.expected_indexes)

    def among(self, condition: Json) -> Json:
        """Return the filter for those documents of the range that fulfil a condition."""
        # Side by side where that is possible: some servers use no index for a range inside an `$and`.
        if self.query.keys() & condition.keys():
            return {"$and": [self.query, condition]}
        return {**self.query, **condition}


def existing(db: Db, collection: str) -> list[Json]:
    """Return the indexes that there are; none where the collection is not there."""
    try:
        return [dict(one) for one in db[collection].list_indexes()]
    except OperationFailure:
        return []


@dataclass(frozen=True)
class Aside:
    """The cure of a document that can't be cured: it is moved to the quarantine."""

    reason: str


class Check:
    """What all checks say of themselves."""

    id: ClassVar[str]
    title: ClassVar[str]
    group: ClassVar[str]  # schema, indexes, integrity, quality, drift, performance or security
    severity: ClassVar[Severity]
    why: ClassVar[str]  # why a failure matters
    cost: ClassVar[str] = "scan"  # scan, lookup, group or metadata
    repair: ClassVar[str | None] = None  # how it is repaired
    advice: ClassVar[str | None] = None  # what to do by hand
    clients_only: ClassVar[bool] = False  # it is about the collections that clients fill

    def info(self, scene: Scene) -> CheckInfo:
        """Return what the report says of this check."""
        return CheckInfo(
            id=self.id,
            title=self.title,
            group=self.group,
            severity=self.severity,
            why=self.why,
            repair=self.repair if self.cures(scene) else None,
            advice=self.advice,
            cost=self.cost,
        )

    def cures(self, scene: Scene) -> bool:
        """Whether what it finds here is put right by a repair."""
        return self.repair is not None

    def concerns(self, scene: Scene) -> bool:
        """Whether there is anything for it to look at here."""
        return True

    def tally(self, scene: Scene, count: int, ids: Iterable[Any] = (), **more: Any) -> Tally:
        """Return what it has found."""
        examples = tuple(shown_id(one) for one, _ in zip(ids, range(scene.examples_max), strict=False))
        return Tally(check=self.id, collection=scene.collection, count=count, examples=examples, **more)

    def skipped(self, scene: Scene, why: str) -> NotChecked:
        """Return that it could not look, and why."""
        return NotChecked(check=self.id, collection=scene.collection, why=why)


class DocumentCheck(Check):
    """Looks at one document at a time, all checks of this form in one pass."""

    def cures(self, scene: Scene) -> bool:
        """Whether clients fill the collection: what is wrong about the form of our own records is a mistake of ours."""
        return self.repair is not None and scene.form is not None and scene.form.is_clients

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return filters that together find every document that fails, and perhaps some others."""
        raise NotImplementedError

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the fields in which a document fails; nothing where it is well."""
        raise NotImplementedError

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Return a failing document as it should be. Called only where `repair` is set."""
        raise NotImplementedError


class RelationCheck(Check):
    """Looks at the documents of a range beside those of another collection."""

    cost = "lookup"

    def broken(self, scene: Scene) -> Iterator[Any]:
        """Yield the ids of the documents in the range that fail."""
        raise NotImplementedError

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Return a failing document as it should be. Called only where `repair` is set."""
        raise NotImplementedError


Found = Tally | NotChecked | CollectionFigures | str | float
"""What a look at a whole collection yields: findings, what could not be looked at, figures, a recommendation, and the
mean confidence of the features."""


class CollectionCheck(Check):
    """Looks at a collection as a whole."""

    cost = "group"

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield what there is to say."""
        raise NotImplementedError


class ServerCheck(Check):
    """Looks at the database and its server."""

    group = "security"
    cost = "metadata"

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield what there is to say."""
        raise NotImplementedError
