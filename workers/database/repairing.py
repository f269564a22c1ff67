"""The work of the job kind `database_repair`: each part of plan, approval, change and undoing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from shared.clock import now
from shared.errors import InputNeeded, ItemFailed
from shared.items import ItemOutcome, succeeded
from shared.jobs.database_repair import APPROVE, UNTOUCHED, Item, Part, Request, Result, plan_id_of
from shared.jobs.job import JobContext
from shared.model import Db, Json
from shared.store import jobs, questions, repairs
from shared.store.repairs import APPLICABLE, Change, PlanStatus, RepairPlan
from workers.database import proposing
from workers.database.applying import (
    Batch,
    Tally,
    applying,
    change_index,
    change_index_back,
    count_changed,
    prepare,
    together,
    undo_batch,
)
from workers.database.patience import patiently

LOOK_AGAIN = timedelta(seconds=30)
"""An answer wakes the job; should that be lost, it looks by itself after so long."""
APPLIED = (PlanStatus.APPLYING, PlanStatus.APPLIED)
NOTE_MAX = 500


def repair(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Do each part. A repeat of any of them, whole or half, ends in the same state."""
    for item in items:
        with patiently():
            result = _PARTS[item.part](request, item, context)
        yield succeeded(result)


def _seal(request: Request, item: Item, context: JobContext) -> Result:
    plan = proposing.seal(request, context, now())
    return Result(part=item.part, changes=plan.changes, plan_hash=plan.hash)


def _gate(request: Request, item: Item, context: JobContext) -> Result:
    """Let nothing pass that was not approved, or that is about data which has changed too much since."""
    db = context.library
    plan = repairs.get_plan(db, plan_id_of(request, context.job_id))
    if plan.status not in APPLICABLE:
        raise ItemFailed("plan_used", f"The plan {plan.id} is {plan.status.value} already.")
    if context.job_id not in plan.applied_by:
        _require_approval(request, plan, context)
        _require_same_plan(plan, context)
        if plan.status is not PlanStatus.APPLYING:  # else half of it is made, and the other half belongs to it
            _require_same_data(request, plan, context)
        prepare(db)
    if not repairs.begin(db, plan.id, context.job_id):
        raise ItemFailed("plan_used", f"The plan {plan.id} was undone or forgotten just now.")
    return Result(part=item.part, changes=plan.changes, plan_hash=plan.hash)


def _require_approval(request: Request, plan: RepairPlan, context: JobContext) -> None:
    if plan.changes == 0:
        return
    approved = request.plan_hash
    if approved is None:
        answer = questions.answer_to(context.db, context.job_id, context.epoch, APPROVE)
        if answer is None:
            words = f"Approve the {plan.changes:,} changes of the plan {plan.id} with its hash: {plan.hash}"
            raise InputNeeded(
                " ".join((words, *plan.warnings)),
                key=APPROVE,
                schema=_schema(plan),
                resumes_at=now() + LOOK_AGAIN,
            )
        content = answer.get("content") or {}
        approved = str(content.get("planHash")) if answer.get("action") == "accept" else None
    if approved != plan.hash:
        _refuse(plan, "it was not approved", context)
        raise ItemFailed("not_approved", "The plan was not approved with the hash that it has; nothing was changed.")


def _schema(plan: RepairPlan) -> Json:
    field = {"type": "string", "description": f"The hash of the plan, to approve it: {plan.hash}"}
    return {"type": "object", "properties": {"planHash": field}, "required": ["planHash"]}


def _require_same_plan(plan: RepairPlan, context: JobContext) -> None:
    """Raise `ItemFailed` where the changes are not those any more that the hash was made of."""
    if proposing.hash_of(context.library, plan.id) != plan.hash:
        why = "its changes are not those any more that its hash is about"
        _refuse(plan, why, context)
        raise ItemFailed("plan_changed", f"Nothing was changed: {why}. Lay out a new plan.")


def _require_same_data(request: Request, plan: RepairPlan, context: JobContext) -> None:
    changed = sum(
        count_changed(context.library, page)
        for shard in range(repairs.SHARDS)
        for page in repairs.changes_of(context.library, plan.id, shard)
    )
    if changed > request.share_max * plan.changes:
        why = f"{changed:,} of its {plan.changes:,} documents have changed since it was laid out"
        _refuse(plan, why, context)
        raise ItemFailed("data_changed", f"Nothing was changed: {why}. Lay out a new plan.")


def _refuse(plan: RepairPlan, why: str, context: JobContext) -> None:
    """Note why a plan is not applied; one that somebody is applying stays as it is, so that it can be undone."""
    repairs.move(context.library, plan.id, PlanStatus.REFUSED, why, only_from=UNTOUCHED)


def _applying(request: Request, context: JobContext) -> str:
    plan = repairs.get_plan(context.library, plan_id_of(request, context.job_id))
    # Applied, too: who was killed between its last change and its outcome does it again.
    is_let_in = context.job_id in plan.applied_by and plan.status in (PlanStatus.APPLYING, PlanStatus.APPLIED)
    if not is_let_in:
        raise ItemFailed("not_approved", f"The plan {plan.id} is {plan.status.value}, so nothing was changed.")
    return plan.id


def _apply(request: Request, item: Item, context: JobContext) -> Result:
    plan, shard = _applying(request, context), item.shard or 0
    return _through(item, repairs.changes_of(context.library, plan, shard), applying(plan, shard), context)


def _through(item: Item, pages: Iterator[list[Change]], batch: Batch, context: JobContext) -> Result:
    total = Tally()
    for page in pages:
        total = total.plus(together(context.library, page, batch))
    codes = ", ".join(map(str, sorted(total.refused)))
    note = f"The server refused changes (code {codes}): those documents were left alone." if codes else None
    changes = total.done + total.skipped
    return Result(part=item.part, changes=changes, done=total.done, skipped=total.skipped, note=note)


def _build(request: Request, item: Item, context: JobContext) -> Result:
    plan = _applying(request, context)
    result = _of_indexes(item, repairs.changes_of(context.library, plan, repairs.INDEX_SHARD), change_index, context)
    repairs.move(context.library, plan, PlanStatus.APPLIED, result.note, only_from=(PlanStatus.APPLYING,))
    return result


def _of_indexes(
    item: Item, pages: Iterator[list[Change]], change: Callable[[Db, Change], str | None], context: JobContext
) -> Result:
    """Change indexes one by one; what can't be is told."""
    said = [change(context.library, one) for page in pages for one in page]
    refused = [why for why in said if why is not None]
    note = "; ".join(refused)[:NOTE_MAX] or None
    return Result(part=item.part, done=len(said) - len(refused), skipped=len(refused), note=note)


def _unbuild(request: Request, item: Item, context: JobContext) -> Result:
    """Take the indexes back first: a unique one would refuse the duplicates that come back."""
    db, plan = context.library, repairs.get_plan(context.library, request.undo or "")
    _require_rest(plan, context)
    prepare(db)
    if not repairs.move(db, plan.id, PlanStatus.UNDOING, only_from=(*APPLIED, PlanStatus.UNDOING)):
        raise ItemFailed("nothing_to_undo", f"The repair {plan.id} is {plan.status.value}.")
    repairs.close(db, plan.id, repairs.INDEX_SHARD)
    return _of_indexes(item, repairs.undo_of(db, plan.id, repairs.INDEX_SHARD), change_index_back, context)


def _require_rest(plan: RepairPlan, context: JobContext) -> None:
    """Raise `ItemFailed` while a job is applying the plan."""
    for job_id in plan.applied_by:
        job = jobs.find_without_request(context.db, job_id)
        if job is not None and not job.status.is_final:
            raise ItemFailed("repair_at_work", f"{job_id} is applying {plan.id}: wait for its end, or cancel it.")


def _undo(request: Request, item: Item, context: JobContext) -> Result:
    db, plan, shard = context.library, repairs.get_plan(context.library, request.undo or ""), item.shard or 0
    if plan.status not in (PlanStatus.UNDOING, PlanStatus.UNDONE):
        raise ItemFailed("nothing_to_undo", f"The repair {plan.id} is {plan.status.value}.")
    repairs.close(db, plan.id, shard)
    result = _through(item, repairs.undo_of(db, plan.id, shard), undo_batch, context)
    repairs.note_undone(db, plan.id, shard)
    return result


def _close(request: Request, item: Item, context: JobContext) -> Result:
    """Say that all is undone, if it is: what failed can be tried again as long as that is not said."""
    plan = repairs.get_plan(context.library, request.undo or "")
    if not repairs.is_undone(context.library, plan.id):
        raise ItemFailed("not_all_undone", f"Not all changes of {plan.id} are undone: retry the job.")
    repairs.move(context.library, plan.id, PlanStatus.UNDONE, only_from=(PlanStatus.UNDOING,))
    return Result(part=item.part)


def _forget(request: Request, item: Item, context: JobContext) -> Result:
    """Delete for ever what a repair has kept, for whoever has its hash."""
    plan = repairs.get_plan(context.library, request.forget or "")
    if request.plan_hash != plan.hash:
        raise ItemFailed("not_approved", f"The plan {plan.id} has another hash; nothing was deleted.")
    if plan.status in (PlanStatus.APPLYING, PlanStatus.UNDOING):
        raise ItemFailed("repair_at_work", f"The repair {plan.id} is {plan.status.value}; nothing was deleted.")
    return Result(part=item.part, done=repairs.forget(context.library, plan.id))


_PARTS: dict[Part, Callable[[Request, Item, JobContext], Result]] = {
    Part.SCAN: proposing.propose_range,
    Part.WHOLE: proposing.propose_whole,
    Part.SEAL: _seal,
    Part.GATE: _gate,
    Part.APPLY: _apply,
    Part.BUILD: _build,
    Part.UNBUILD: _unbuild,
    Part.UNDO: _undo,
    Part.CLOSE: _close,
    Part.FORGET: _forget,
}
