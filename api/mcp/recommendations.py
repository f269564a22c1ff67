"""The tools of taste: what a user may like, and which groups there are."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import to_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult

from api import clusters, recommendations
from api.access import visit
from api.clusters import ClusterDocument, ClusterList
from api.mcp.answers import answer, fitting
from api.mcp.tool import READS, JobTool, Provide, tool
from api.recommendations import Index, Limit, RecommendationList, RecommendedThing, UserId
from shared.access import Scope
from shared.model import Body, Db
from shared.store.clusters import CLUSTERS_MAX
from shared.store.indexes import IndexName

LIMIT = 10


class WhoseRecommendations(Body):
    """Whose, out of what, and how many."""

    user_id: UserId
    index: Index = IndexName.CATALOGUE
    limit: Limit = LIMIT


class WhichClusters(Body):
    """Of which index."""

    index: Index = IndexName.CATALOGUE


def taste_tools(provide: Provide) -> list[JobTool]:
    """Return the tools that read recommendations and clusters."""

    def db() -> Db:
        return provide().connection.db

    def owner() -> str:
        return visit.principal(Scope.SEARCH).owner

    async def get_recommendations(wanted: WhoseRecommendations, _: Context[Any, Any]) -> CallToolResult:
        def read(limit: int) -> RecommendationList:
            return recommendations.find(db(), owner(), user_id=wanted.user_id, index=wanted.index, limit=limit)

        found = await to_thread.run_sync(lambda: fitting(read, wanted.limit, lambda one: one.recommendations))
        lines = [_recommendation_line(one) for one in found.recommendations]
        return answer("\n".join([*(lines or ["There are no recommendations."]), *_advice(found.advice)]), found)

    async def get_clusters(wanted: WhichClusters, _: Context[Any, Any]) -> CallToolResult:
        def read(limit: int) -> ClusterList:
            whole = clusters.find(db(), owner(), index=wanted.index)
            return whole.model_copy(update={"clusters": whole.clusters[:limit]})

        found = await to_thread.run_sync(lambda: fitting(read, CLUSTERS_MAX, lambda one: one.clusters))
        lines = [_cluster_line(one) for one in found.clusters] or ["There are no clusters."]
        if len(found.clusters) < found.k:
            lines.append(f"These are the {len(found.clusters)} largest of {found.k}.")
        return answer("\n".join([*lines, *_advice(found.advice)]), found)

    define = partial(tool, annotations=READS, provide=provide, scope=Scope.SEARCH)
    return [
        define(
            get_recommendations,
            name="get_recommendations",
            title="Get recommendations",
            description="What a user may like, with a score and a reason for each, as the last `recommend` job has"
            " worked it out. Where there is nothing yet, it says how to get it.",
            arguments=WhoseRecommendations,
            output=RecommendationList,
        ),
        define(
            get_clusters,
            name="get_clusters",
            title="Get clusters",
            description="The groups of what is alike in the catalogue or among the tracks, as the last `find_clusters`"
            " job has found them: label, size, what is typical.",
            arguments=WhichClusters,
            output=ClusterList,
        ),
    ]


def _recommendation_line(one: RecommendedThing) -> str:
    one_id = one.item_id or one.track_id
    return f"{one.rank}. {one.title or one_id} ({one_id}, {one.score:.2f}): {one.reason}"


def _cluster_line(one: ClusterDocument) -> str:
    typical = ", ".join(each.title or each.id for each in one.representatives[:3])
    return f"{one.number}. {one.label}: {one.size} entries, such as {typical}"


def _advice(advice: str | None) -> list[str]:
    return [] if advice is None else [advice]
