"""Checks on what a collection costs, by the rules of thumb that EchoTune's clients know."""

from __future__ import annotations

from collections.abc import Iterator

from pymongo.errors import OperationFailure

from shared.findings import CollectionFigures, Severity
from shared.model import Json
from workers.database.checks.check import CollectionCheck, Found, Scene, ServerCheck
from workers.database.checks.indexes import existing, shape
from workers.database.schema import OWN

MANY_DOCUMENTS = 100_000
FEW_INDEXES = 3
LARGE_AVERAGE = 10 * 1024  # bytes
SMALL_DATA = 1024 * 1024  # bytes below which the size of indexes says nothing
SLOW_MS = 100
PROFILED_MAX = 1000


class Figures(CollectionCheck):
    """What a collection holds and costs, and whether that is out of proportion."""

    id = "proportions"
    title = "Out of proportion"
    group = "performance"
    severity = Severity.LOW
    cost = "metadata"
    why = "Queries, backups and memory cost more than they need to."
    advice = "See the recommendations of the report."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the figures, and a recommendation for each rule that they break."""
        try:
            stats = scene.db.command("collStats", scene.collection)
        except OperationFailure as error:
            yield self.skipped(scene, f"the server gives no figures (code {error.code})")
            return
        figures = figures_of(stats)
        yield figures
        advice = list(recommendations(scene.collection, int(stats.get("count", 0)), figures, has_more=_has_more(scene)))
        yield from advice
        yield self.tally(scene, len(advice), note=" ".join(advice) or None)


def figures_of(stats: Json) -> CollectionFigures:
    """Return the figures that the command `collStats` gives."""
    return CollectionFigures(
        size_bytes=int(stats.get("size", 0)),
        avg_obj_size=float(stats.get("avgObjSize", 0) or 0),
        indexes=int(stats.get("nindexes", 0)),
        total_index_size=int(stats.get("totalIndexSize", 0)),
    )


def _has_more(scene: Scene) -> bool:
    """Whether there are indexes besides those that queries are known to rely on, which could be dropped."""
    wanted = {shape(one.document) for one in scene.expected_indexes.get(scene.collection, ())}
    there = existing(scene.db, scene.collection)
    return any(one["name"] != "_id_" and shape(one) not in wanted for one in there)


def recommendations(collection: str, documents: int, figures: CollectionFigures, *, has_more: bool) -> Iterator[str]:
    """Yield what the rules of thumb say of a collection; `has_more` indexes than queries are known to rely on."""
    indexes, index_bytes = figures.indexes or 0, figures.total_index_size or 0
    data_bytes, average = figures.size_bytes or 0, figures.avg_obj_size or 0.0
    if documents > MANY_DOCUMENTS and indexes < FEW_INDEXES:
        yield f"{collection} has {documents:,} documents and only {indexes} indexes: index what is asked for often."
    if has_more and data_bytes > SMALL_DATA and index_bytes > data_bytes:
        yield f"The indexes of {collection} are larger than its data: drop those that nobody uses."
    # Pieces of files and chunks' outcomes are large by design.
    if average > LARGE_AVERAGE and not collection.endswith(".chunks") and collection not in OWN:
        yield f"The documents of {collection} have {average / 1024:.0f} KB on average: keep large parts elsewhere."


class SlowOperations(ServerCheck):
    """Operations that took long, by the server's profiler."""

    id = "slow_operations"
    title = "Slow operations"
    group = "performance"
    severity = Severity.LOW
    why = "Somebody waited for them."
    advice = "Explain the operations that the note names; an index is missing, most often."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield how many operations of over 100 ms the profiler has kept."""
        try:
            level = int(scene.db.command("profile", -1)["was"])
        except (OperationFailure, KeyError) as error:
            yield self.skipped(scene, f"the profiler can't be asked: {type(error).__name__}")
            return
        if level == 0:
            yield self.skipped(scene, "the profiler is off")
            return
        slow = scene.db["system.profile"].find({"millis": {"$gte": SLOW_MS}}, {"ns": 1, "op": 1}).limit(PROFILED_MAX)
        places = [f"{one.get('op', '?')} on {one.get('ns', '?')}" for one in slow]
        names = ", ".join(sorted(set(places))[: scene.examples_max])
        yield self.tally(scene, len(places), note=names or None)
