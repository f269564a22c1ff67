"""Checks on what a collection costs, by the rules of thumb that EchoTune's clients know."""

from __future__ import annotations

from collections.abc import Iterator

from pymongo.errors import OperationFailure

from shared.findings import CollectionFigures, Severity
from shared.model import Json
from shared.store import repairs
from workers.database.checks.check import CollectionCheck, Found, Scene, ServerCheck
from workers.database.checks.indexes import shape
from workers.database.schema import OWN

MANY_DOCUMENTS = 100_000
FEW_INDEXES = 3
LARGE_AVERAGE = 10 * 1024  # bytes
SMALL_DATA = 1024 * 1024  # bytes below which the size of indexes says nothing
SLOW_MS = 100
PROFILED_MAX = 1000
GRIDFS = (".files", ".chunks")


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
        advice = list(
            recommendations(
                scene.collection,
                int(stats.get("count", 0)),
                figures,
                is_known=_is_known(scene),
                surplus_bytes=_surplus_bytes(scene, stats),
            )
        )
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


def _is_known(scene: Scene) -> bool:
    """Whether it is known what is asked of a collection, so that what is missing is told index by index."""
    is_ours = scene.collection in scene.expected_indexes or scene.collection in repairs.OWN
    return is_ours or scene.form is not None or scene.collection.endswith(GRIDFS)


def _surplus_bytes(scene: Scene, stats: Json) -> int:
    """Return the size of the indexes that no known query relies on, which could be dropped."""
    wanted = {shape(one.document) for one in scene.expected_indexes.get(scene.collection, ())}
    others = [one["name"] for one in scene.indexes if shape(one) not in wanted]
    sizes = stats.get("indexSizes", {})
    return sum(int(sizes.get(name, 0)) for name in others if name != "_id_")


def recommendations(
    collection: str, documents: int, figures: CollectionFigures, *, is_known: bool, surplus_bytes: int
) -> Iterator[str]:
    """Yield what the rules of thumb say of a collection; `surplus_bytes` take the indexes that could be dropped."""
    indexes, data_bytes, average = figures.indexes or 0, figures.size_bytes or 0, figures.avg_obj_size or 0.0
    if documents > MANY_DOCUMENTS and indexes < FEW_INDEXES and not is_known:
        yield f"{collection} has {documents:,} documents and only {indexes} indexes: index what is asked for often."
    if data_bytes > SMALL_DATA and surplus_bytes > data_bytes:
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
