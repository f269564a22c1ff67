"""The work of the job kind `database_validate`: ranges, collections and the server, looked at one by one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.findings import FIELDS_MAX, CollectionFigures, NotChecked, Tally
from shared.items import ItemOutcome, succeeded
from shared.jobs.database_validate import Item, Part, Request, Result
from shared.jobs.job import JobContext
from shared.model import Json
from shared.store.id_ranges import shown_id
from shared.store.repairs import digest
from workers.database.checks import BYTES, COLLECTIONS, DOCUMENTS, RELATIONS, SERVER
from workers.database.checks.bytes import BytesCheck, without_secrets
from workers.database.checks.check import Check, CollectionCheck, DocumentCheck, Scene, ServerCheck
from workers.database.checks.collections import MissingCollection
from workers.database.checks.indexes import expected_indexes
from workers.database.patience import patiently
from workers.database.schema import FORMS, OPERATORS
from workers.database.values import decoded, raw_batches, raw_documents, split

CLOCK_SKEW = timedelta(minutes=5)
"""So far ahead of ours may the clock be by which a client dates its documents."""
BAD_VALUE = 2
NAME_MAX = 100
"""Characters of a field's name in a report."""
SETTLING = timedelta(hours=1)
"""What is younger may belong to something that is still at work."""


def validate(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Look at each item."""
    for item in items:
        started = time.monotonic()
        collection = item.collection or (item.range.collection if item.range else "")
        scene = scene_of(context, collection, query=item.range.query() if item.range else {}, request=request)
        with patiently():
            result = _LOOKS[item.part](scene)
        yield succeeded(result.model_copy(update={"seconds": round(time.monotonic() - started, 4)}))


def scene_of(context: JobContext, collection: str, *, query: Json, request: Request | None = None) -> Scene:
    """Return where the checks of a collection look, within a range of it."""
    moment = now()
    is_operator = context.owner == DEFAULT_OWNER
    form = FORMS.get(collection) if is_operator or collection not in OPERATORS else None
    return Scene(
        context=context,
        db=context.library,
        is_operator=is_operator,
        collection=collection,
        form=form,
        moment=moment + CLOCK_SKEW,
        settled=moment - SETTLING,
        query=query,
        examples_max=request.examples if request else 0,
        expected_indexes=_expected(is_operator),
        deep=bool(request and request.deep),
    )


@lru_cache
def _expected(is_operator: bool) -> Any:
    found: dict[str, Sequence[IndexModel]] = dict(expected_indexes(is_operator=is_operator))
    return found


class Found:
    """Adds up what checks find, one after the other."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._counts: Counter[str] = Counter()
        self._fields: dict[str, Counter[str]] = {}
        self._ids: dict[str, list[Any]] = {}

    def add(self, check: Check, own_id: Any, fields: Sequence[str] = ()) -> None:
        """Count a document that fails."""
        self._counts[check.id] += 1
        self._fields.setdefault(check.id, Counter()).update(fields)
        ids = self._ids.setdefault(check.id, [])
        if len(ids) < self._scene.examples_max:
            ids.append(own_id)

    def tally(self, check: Check) -> Tally:
        """Return what a check has found."""
        counted = self._fields.get(check.id, Counter()).most_common(FIELDS_MAX)
        fields = {without_secrets(name)[:NAME_MAX]: count for name, count in counted}  # a name may be one, too
        examples = tuple(shown_id(one) for one in self._ids.get(check.id, ()))
        return Tally(
            check=check.id,
            collection=self._scene.collection,
            count=self._counts[check.id],
            examples=examples,
            fields=fields,
        )


def _look_at_documents(scene: Scene) -> Result:
    """Look at each document of a range: by its bytes, by its form, and beside others."""
    found = Found(scene)
    documents = _look_at_bytes(scene, BYTES, found)
    by_form = [check for check in DOCUMENTS if check.concerns(scene)]
    for document in suspects(scene, by_form):
        for check in by_form:
            if fields := check.faults(document, scene):
                found.add(check, document["_id"], fields)
    relations = [check for check in RELATIONS if check.concerns(scene)]
    for relation in relations:
        for own_id in relation.broken(scene):
            found.add(relation, own_id)
    checks: list[Check] = [*BYTES, *by_form, *relations]
    return _result(scene, checks, [found.tally(check) for check in checks], documents=documents)


def _look_at_bytes(scene: Scene, checks: Sequence[BytesCheck], found: Found) -> int:
    """Look through the documents as they are stored, and return how many they are."""
    documents = 0
    for batch in raw_batches(scene.db, scene.collection, scene.query):
        suspicious = [check for check in checks if check.may_be_in(batch)]
        for raw in split(batch):
            documents += 1
            for check in suspicious:
                if check.may_be_in(raw) and (fields := check.faults(raw)):
                    found.add(check, decoded(raw)["_id"], fields)
    return documents


def suspects(scene: Scene, checks: Sequence[DocumentCheck]) -> Iterator[Json]:
    """Yield the documents that any of the checks' filters finds: the server passes over those that are well."""
    yield from map(decoded, raw_suspects(scene, checks))


def raw_suspects(scene: Scene, checks: Sequence[DocumentCheck]) -> Iterator[bytes]:
    """Yield the same as they are stored, each once."""
    seen: set[str] = set()
    try:
        for raw in _matching(scene, checks):
            seen.add(digest(raw))
            yield raw
    except OperationFailure as error:
        if error.code != BAD_VALUE:
            raise
        # The embedded server's `$jsonSchema` breaks off at a NaN in a field that has bounds; filters don't.
        rest = _matching(replace(scene, has_bounds=False), checks)
        yield from (raw for raw in rest if digest(raw) not in seen)


def _matching(scene: Scene, checks: Sequence[DocumentCheck]) -> Iterator[bytes]:
    clauses: list[Json] = []
    for check in checks:
        clauses += [clause for clause in check.clauses(scene) if clause not in clauses]
    if clauses:
        yield from raw_documents(scene.db, scene.collection, scene.among({"$or": clauses}))


def _look_at_collection(scene: Scene) -> Result:
    checks = COLLECTIONS if scene.is_there else [one for one in COLLECTIONS if isinstance(one, MissingCollection)]
    return _looked(scene, [check for check in checks if check.concerns(scene)])


def _look_at_server(scene: Scene) -> Result:
    return _looked(scene, SERVER)


def _looked(scene: Scene, checks: Sequence[CollectionCheck | ServerCheck]) -> Result:
    said = [one for check in checks for one in check.look(scene)]
    result = _result(scene, checks, [one for one in said if isinstance(one, Tally)])
    return result.model_copy(
        update={
            "not_checked": tuple(one for one in said if isinstance(one, NotChecked)),
            "figures": next((one for one in said if isinstance(one, CollectionFigures)), None),
            "confidence": next((one for one in said if isinstance(one, float)), None),
            "recommendations": tuple(one for one in said if isinstance(one, str)),
        }
    )


def _result(scene: Scene, checks: Sequence[Check], tallies: Sequence[Tally], *, documents: int = 0) -> Result:
    bad = {one.check for one in tallies if one.count}
    return Result(
        collection=scene.collection,
        documents=documents,
        is_known=scene.form is not None,
        tallies=tuple(one for one in tallies if one.count),
        checks=tuple(check.info(scene) for check in checks if check.id in bad),
        looked_for=tuple(check.id for check in checks),
    )


_LOOKS = {
    Part.DOCUMENTS: _look_at_documents,
    Part.COLLECTION: _look_at_collection,
    Part.SERVER: _look_at_server,
}
