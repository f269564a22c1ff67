"""The work of the job kind `database_repair`: each part of plan, approval, change and undoing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from shared.clock import now
from shared.errors import InputNeeded, ItemFailed
from shared.items import ItemOutcome, succeeded
from shared.jobs.database_repair import APPROVE, Item, Part, Request, Result, plan_id_of
from shared.jobs.job import JobContext
from shared.model import Json
from shared.store import questions, repairs
from shared.store.repairs import Change, PlanStatus, RepairPlan
from workers.database import proposing
from workers.database.applying import (
    Batch,
    Tally,
    apply_batch,
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
    if plan.status not in (PlanStatus.PLANNED, PlanStatus.APPLYING, PlanStatus.REFUSED):
        raise ItemFailed("plan_used", f"The plan {plan.id} is {plan.status.value} already.")
    if plan.status is not PlanStatus.APPLYING:
        _require_approval(request, plan, context)
        _require_same_data(request, plan, context)
        prepare(db)
    repairs.begin(db, plan.id, context.job_id)
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
        repairs.set_status(context.library, plan.id, PlanStatus.REFUSED, "it was not approved")
        raise ItemFailed("not_approved", "The plan was not approved with the hash that it has; nothing was changed.")


def _schema(plan: RepairPlan) -> Json:
    field = {"type": "string", "description": f"The hash of the plan, to approve it: {plan.hash}"}
    return {"type": "object", "properties": {"planHash": field}, "required": ["planHash"]}


def _require_same_data(request: Request, plan: RepairPlan, context: JobContext) -> None:
    changed = sum(
        count_changed(context.library, page)
        for shard in range(repairs.SHARDS)
        for page in repairs.changes_of(context.library, plan.id, shard)
    )
    if changed > request.share_max * plan.changes:
        why = f"{changed:,} of its {plan.changes:,} documents have changed since it was laid out"
        repairs.set_status(context.library, plan.id, PlanStatus.REFUSED, why)
        raise ItemFailed("data_changed", f"Nothing was changed: {why}. Lay out a new plan.")


def _applying(request: Request, context: JobContext) -> str:
    plan = repairs.get_plan(context.library, plan_id_of(request, context.job_id))
    # Applied, too: who was killed between its last change and its outcome does it again.
    is_let_in = context.job_id in plan.applied_by and plan.status in (PlanStatus.APPLYING, PlanStatus.APPLIED)
    if not is_let_in:
        raise ItemFailed("not_approved", f"The plan {plan.id} is {plan.status.value}, so nothing was changed.")
    return plan.id


def _apply(request: Request, item: Item, context: JobContext) -> Result:
    plan = _applying(request, context)
    return _through(item, repairs.changes_of(context.library, plan, item.shard or 0), apply_batch, context)


def _through(item: Item, pages: Iterator[list[Change]], batch: Batch, context: JobContext) -> Result:
    total = Tally()
    for page in pages:
        total = total.plus(together(context.library, page, batch))
    return Result(part=item.part, changes=total.done + total.skipped, done=total.done, skipped=total.skipped)


def _build(request: Request, item: Item, context: JobContext) -> Result:
    db, plan = context.library, _applying(request, context)
    done, refused = 0, []
    for page in repairs.changes_of(db, plan, repairs.INDEX_SHARD):
        for change in page:
            why = change_index(db, change)
            done += why is None
            refused += [why] if why else []
    repairs.set_status(db, plan, PlanStatus.APPLIED, "; ".join(refused) or None)
    return Result(part=item.part, done=done, skipped=len(refused), note="; ".join(refused)[:500] or None)


def _undoing(request: Request, context: JobContext) -> str:
    plan = repairs.get_plan(context.library, request.undo or "")
    if plan.status not in (PlanStatus.APPLYING, PlanStatus.APPLIED, PlanStatus.UNDOING):
        raise ItemFailed("nothing_to_undo", f"The repair {plan.id} is {plan.status.value}.")
    return plan.id


def _unbuild(request: Request, item: Item, context: JobContext) -> Result:
    """Take the indexes back first: a unique one would refuse the duplicates that come back."""
    db, plan = context.library, _undoing(request, context)
    repairs.set_status(db, plan, PlanStatus.UNDOING)
    done = 0
    for page in repairs.undo_of(db, plan, repairs.INDEX_SHARD):
        for change in page:
            change_index_back(db, change)
            done += 1
    return Result(part=item.part, done=done)


def _undo(request: Request, item: Item, context: JobContext) -> Result:
    plan = _undoing(request, context)
    return _through(item, repairs.undo_of(context.library, plan, item.shard or 0), undo_batch, context)


def _close(request: Request, item: Item, context: JobContext) -> Result:
    plan = repairs.get_plan(context.library, request.undo or "")
    if plan.status is not PlanStatus.UNDONE:
        repairs.set_status(context.library, _undoing(request, context), PlanStatus.UNDONE)
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
