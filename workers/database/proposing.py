"""What a repair would change: found range by range, and written down before anything is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import Any

import bson

from shared.errors import ItemFailed
from shared.jobs.database_repair import UNTOUCHED, Item, Request, Result
from shared.jobs.job import JobContext
from shared.model import Db, Json
from shared.store import repairs, reports
from shared.store.id_ranges import shown_id, write_id
from shared.store.repairs import Action, Change, Group, RepairPlan, change_id, digest
from workers.database.checks import ALL, BYTES, DOCUMENTS, RELATIONS
from workers.database.checks.bytes import BytesCheck, SecretInDocument
from workers.database.checks.check import Aside, DocumentCheck, RelationCheck, Scene
from workers.database.checks.collections import Duplicates, duplicated
from workers.database.checks.indexes import MissingIndex, RedundantIndex, UnbuiltUnique, missing, redundant
from workers.database.validation import raw_suspects, scene_of
from workers.database.values import decoded, encoded, raw_batches, raw_documents, split

Curing = DocumentCheck | BytesCheck | RelationCheck
IDS = 500
EXAMPLES = 5


def id_digest(value: Any) -> str:
    """Return the hash of a document's id, of whatever type."""
    return digest(bson.encode({"_id": value}))


def chosen_checks(request: Request, context: JobContext) -> frozenset[str]:
    """Return the checks whose findings are to be put right. Raises `ItemFailed` for names that no such check has."""
    able = {check.id for check in ALL if check.repair is not None}
    unknown = sorted(set(request.checks) - able)
    if unknown:
        known = ", ".join(sorted(able))
        raise ItemFailed("unknown_check", f"No check that can be repaired is called {unknown[0]!r}: those are {known}.")
    if request.validation is not None:
        reports.get(context.library, request.validation)
        able &= {one.check for one in reports.findings_of(context.library, request.validation)}
    return frozenset(able & set(request.checks) if request.checks else able)


def propose_range(request: Request, item: Item, context: JobContext) -> Result:
    """Write down the changes of the documents of a range."""
    assert item.range is not None
    require_open_plan(context)
    scene = scene_of(context, item.range.collection, query=item.range.query())
    proposer = _Proposer(scene, chosen_checks(request, context))
    changes = repairs.propose(context.library, proposer.changes(), firm=False)
    return Result(part=item.part, changes=changes, note=proposer.note)


class _Proposer:
    """Cures the documents of one range."""

    def __init__(self, scene: Scene, chosen: Container[str]) -> None:
        self._scene = scene
        self._by_form = [one for one in DOCUMENTS if one.id in chosen and one.cures(scene) and one.concerns(scene)]
        self._by_bytes = [one for one in BYTES if one.id in chosen and one.cures(scene)]
        self._relations = [one for one in RELATIONS if one.id in chosen and one.concerns(scene)]
        self._too_large = 0

    @property
    def note(self) -> str | None:
        """What has to be said of the documents for which no change was proposed."""
        if not self._too_large:
            return None
        return (
            f"{self._too_large:,} documents of {self._scene.collection} are too large to be kept beside their change,"
            " so they are left alone."
        )

    def changes(self) -> Iterator[Change]:
        """Yield a change for each document that fails, whatever in."""
        broken = {check.id: list(check.broken(self._scene)) for check in self._relations}
        related = {check: {id_digest(one) for one in ids} for check, ids in broken.items()}
        seen: set[str] = set()
        for raw in self._suspects([one for ids in broken.values() for one in ids]):
            key = id_digest(decoded(raw)["_id"])
            if key in seen:
                continue
            seen.add(key)
            change = self._change(raw, key, related)
            if change is not None and change.can_be_kept:
                yield change
            self._too_large += change is not None and not change.can_be_kept

    def _suspects(self, broken: Sequence[Any]) -> Iterator[bytes]:
        """Yield every document that may have to be changed, some of them twice."""
        scene = self._scene
        yield from raw_suspects(scene, self._by_form)
        if self._by_bytes:
            for batch in raw_batches(scene.db, scene.collection, scene.query):
                if any(check.may_be_in(batch) for check in self._by_bytes):
                    yield from (raw for raw in split(batch) if any(check.may_be_in(raw) for check in self._by_bytes))
        for start in range(0, len(broken), IDS):
            yield from raw_documents(scene.db, scene.collection, {"_id": {"$in": broken[start : start + IDS]}})

    def _change(self, raw: bytes, key: str, related: dict[str, set[str]]) -> Change | None:
        document = decoded(raw)
        own_id, checks = document["_id"], []
        every: Sequence[Curing] = (*self._by_form, *self._by_bytes, *self._relations)
        for check in every:
            if not self._fails(check, document, related.get(check.id, frozenset()), key):
                continue
            checks.append(check.id)
            cured = check.cured(document, self._scene)
            if isinstance(cured, Aside):
                return self._made(raw, key, own_id, Action.QUARANTINE, checks, reason=cured.reason)
            document = cured
        after = encoded(document)
        return self._made(raw, key, own_id, Action.REPLACE, checks, after=after) if after != raw and checks else None

    def _fails(self, check: Curing, document: Json, broken: Container[str], key: str) -> bool:
        if isinstance(check, RelationCheck):
            return key in broken
        if isinstance(check, BytesCheck):
            return bool(check.faults(encoded(document)))
        return bool(check.faults(document, self._scene))

    def _made(self, raw: bytes, key: str, own_id: Any, action: Action, checks: Sequence[str], **more: Any) -> Change:
        plan = self._scene.context.job_id
        return Change(
            id=change_id(plan, self._scene.collection, key),
            plan=plan,
            collection=self._scene.collection,
            target=own_id,
            action=action,
            checks=tuple(checks),
            before=digest(raw),
            size=len(raw),
            **more,
        )


def propose_whole(request: Request, item: Item, context: JobContext) -> Result:
    """Write down which duplicates go, and which indexes are built and dropped."""
    require_open_plan(context)
    chosen = chosen_checks(request, context)
    scene = scene_of(context, item.collection or "", query={})
    if not scene.is_there:
        raise ItemFailed("no_such_collection", f"There is no collection {scene.collection!r}.")
    surplus = _surplus(scene) if Duplicates.id in chosen and Duplicates().concerns(scene) else ()
    changes = repairs.propose(context.library, surplus, firm=True)
    changes += repairs.propose(context.library, _of_indexes(scene, chosen), firm=True)
    return Result(part=item.part, changes=changes)


def _surplus(scene: Scene) -> Iterator[Change]:
    """Yield the quarantine of all but the best of each group of duplicates."""
    plan = scene.context.job_id
    for key, _ in duplicated(scene):
        raws = sorted(raw_documents(scene.db, scene.collection, key), key=lambda raw: _rank(decoded(raw), scene))
        for raw in raws[1:]:
            own_id = decoded(raw)["_id"]
            change = Change(
                id=change_id(plan, scene.collection, id_digest(own_id)),
                plan=plan,
                collection=scene.collection,
                target=own_id,
                action=Action.QUARANTINE,
                checks=(Duplicates.id,),
                before=digest(raw),
                size=len(raw),
                reason="another document of the same key is better",
            )
            if change.can_be_kept:
                yield change


def _rank(document: Json, scene: Scene) -> tuple[bool, int, float, str]:
    """Return what orders duplicates, the best first: not beyond cure, most values, changed last, lowest id."""
    curable = [one for one in DOCUMENTS if one.repair is not None and one.concerns(scene)]
    failing = [one for one in curable if one.faults(document, scene)]
    is_lost = any(isinstance(one.cured(document, scene), Aside) for one in failing)
    values = sum(value is not None for value in document.values())
    moments = [document.get(name) for name in ("updatedAt", "createdAt")]
    changed = next((one.timestamp() for one in moments if isinstance(one, datetime)), 0.0)
    return is_lost, -values, -changed, write_id(document["_id"])


def _of_indexes(scene: Scene, chosen: Container[str]) -> Iterator[Change]:
    if MissingIndex.id in chosen or UnbuiltUnique.id in chosen:
        for model in missing(scene):
            yield _of_index(scene, Action.BUILD, dict(model.document), MissingIndex.id)
    if RedundantIndex.id in chosen:
        for index, _ in redundant(scene):
            yield _of_index(scene, Action.DROP, index, RedundantIndex.id)


def _of_index(scene: Scene, action: Action, index: Json, check: str) -> Change:
    plan, name = scene.context.job_id, str(index["name"])
    return Change(
        id=f"{plan}:{repairs.INDEX_SHARD:02x}:{scene.collection}:{action.value}:{name}",
        plan=plan,
        collection=scene.collection,
        target=name,
        action=action,
        checks=(check,),
        before="",
        after=bson.encode({key: value for key, value in index.items() if key not in ("v", "ns")}),
    )


def _warnings(groups: Sequence[Group], plan: str) -> Iterator[str]:
    """Yield what is easily overlooked: what is taken out of a document is not gone before it is forgotten."""
    secret = sum(one.count for one in groups if SecretInDocument.id in one.checks)
    if secret:
        yield (
            f"Secrets are taken out of {secret:,} documents, but the undo log keeps these as they were, secrets"
            f" included, until the repair is forgotten: backline database forget {plan} HASH. Revoke the secrets in any"
            " case."
        )


def hash_of(db: Db, plan: str) -> str:
    """Return the hash over all changes of a plan."""
    total = hashlib.sha256()
    for one in _all_changes(db, plan):
        total.update(_line(one))
    return total.hexdigest()


def _all_changes(db: Db, plan: str) -> Iterator[Change]:
    for shard in (*range(repairs.SHARDS), repairs.INDEX_SHARD):
        for page in repairs.changes_of(db, plan, shard):
            yield from page


def _line(change: Change) -> bytes:
    return f"{change.id}\n{change.action}\n{change.before}\n{change.leaves or ''}\n".encode()


def seal(request: Request, context: JobContext, moment: datetime) -> RepairPlan:
    """Count the changes and hash them, and store the plan. Raises `ItemFailed` where it was begun to be applied."""
    chosen_checks(request, context)  # what can't be laid out is no empty plan
    total = hashlib.sha256()
    counts: dict[tuple[str, Action, tuple[str, ...]], tuple[int, list[str]]] = {}
    for one in _all_changes(context.library, context.job_id):
        total.update(_line(one))
        count, examples = counts.get((one.collection, one.action, one.checks), (0, []))
        examples = examples if len(examples) >= EXAMPLES else [*examples, shown_id(one.target)]
        counts[one.collection, one.action, one.checks] = (count + 1, examples)
    groups = tuple(
        Group(collection=collection, action=action, checks=checks, count=count, examples=tuple(examples))
        for (collection, action, checks), (count, examples) in sorted(counts.items())
    )
    plan = RepairPlan(
        id=context.job_id,
        validation=request.validation,
        hash=total.hexdigest(),
        changes=sum(one.count for one in groups),
        groups=groups,
        warnings=tuple(_warnings(groups, context.job_id)),
        created_at=moment,
    )
    require_open_plan(context)
    repairs.save_plan(context.library, plan)
    return plan


def require_open_plan(context: JobContext) -> None:
    """Raise `ItemFailed` where this job's plan is applied, or was: nothing is added to it any more."""
    plan = repairs.find_plan(context.library, context.job_id)
    if plan is not None and plan.status not in UNTOUCHED:
        raise ItemFailed("plan_used", f"The plan {plan.id} is {plan.status.value} already: lay out a new one.")
