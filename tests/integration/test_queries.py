"""Every query on a collection that grows is served by an index: none scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from pymongo import monitoring

from shared import lifecycle
from shared.clock import now
from shared.errors import BacklineError
from shared.items import ItemStatus
from shared.library import COLLECTIONS
from shared.model import Db, Json
from shared.periods import Granularity, period_of
from shared.providers import Provider
from shared.settings import Settings
from shared.store import (
    analyses,
    artifacts,
    audio_features,
    audio_files,
    audit,
    authorizations,
    catalogue,
    chunks,
    clusters,
    connections,
    contents,
    disagreements,
    exports,
    imports,
    jobs,
    keys,
    listening_history,
    outcomes,
    playlist_reads,
    provider_answers,
    provider_endpoints,
    questions,
    ratings,
    recommendations,
    repairs,
    reports,
    usage,
)
from shared.store.connections import Connection, ConnectionStatus
from shared.store.database import connect, ensure_indexes
from shared.store.id_ranges import CODEC, IdRange, ranges_of
from shared.store.indexes import IndexName
from shared.store.job_record import JobStatus, Progress
from shared.store.playlist_reads import PlaylistRead
from shared.store.users import user_ids
from tests.integration.engine import engine_on
from workers.imports import job as importing

JOBS = 60
EXPLAINABLE = ("find", "update", "delete", "count", "aggregate", "findAndModify")


class Recorder(monitoring.CommandListener):
    """Keeps the commands that are sent."""

    def __init__(self) -> None:
        self.sent: list[Json] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in EXPLAINABLE:
            self.sent.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


@pytest.fixture
def grown(db: Db, settings: Settings) -> Db:
    """A database in which some jobs have run."""
    with engine_on(db, settings) as engine:
        for _ in range(JOBS):
            job = engine.submit("squares", items=3, fails=[1], userId="ada")
            engine.db["jobs"].update_one({"_id": job.id}, {"$set": {"status": "succeeded"}})
        last = engine.submit("squares", items=3, fails=[1], userId="ada")
        engine.drive(last.id)
    return db


def finish(db: Db, job_id: str) -> object:
    return jobs.finish(
        db,
        job_id,
        0,
        status=JobStatus.PARTIAL,
        progress=Progress(),
        summary=None,
        error=None,
        expires_at=now() + timedelta(days=1),
    )


def suppressed(query: Callable[..., object], *arguments: object) -> object:
    """Ask for what is not there."""
    with suppress(BacklineError):
        query(*arguments)
    return None


PERIOD = period_of("30d", now())
PLAY = listening_history.Play(track_id="track", played_at=now())
READ = PlaylistRead(id="job_1", playlist_id="one", expires_at=now())
CONNECTION = Connection(
    id="local/ada",
    owner="local",
    user_id="ada",
    status=ConnectionStatus.CONNECTED,
    sealed_tokens="",
    scopes=(),
    token_expires_at=now(),
    revision=1,
    connected_at=now(),
    updated_at=now(),
)


def known_plays(db: Db) -> object:
    form = COLLECTIONS["listening_history"]
    play = {"userId": "ada", "trackId": "track", "playedAt": now()}
    return importing._known(db, form, {importing._key(play, form): play})


QUERIES: dict[str, Callable[[Db, str], object]] = {
    "jobs.find": lambda db, job_id: jobs.find(db, job_id),
    "jobs.find_revisions": lambda db, job_id: jobs.find_revisions(db, [job_id]),
    "jobs.find_by_idempotency_key": lambda db, _: jobs.find_by_idempotency_key(db, "local", "ada", "key"),
    "jobs.page": lambda db, _: jobs.page(db, owner="local", limit=5),
    "jobs.page of a user": lambda db, _: jobs.page(db, owner="local", user_id="ada", limit=5),
    "jobs.count_open": lambda db, _: jobs.count_open(db, "local", limit=10),
    "jobs.count_by_status": lambda db, _: jobs.count_by_status(db, "local"),
    "keys.find": lambda db, _: keys.find(db, "abc"),
    "audit.page": lambda db, _: audit.page(db, limit=5),
    "audit.page behind a cursor": lambda db, _: audit.page(db, limit=5, after="1700000000000.audit_1"),
    "usage.items_of_day": lambda db, _: usage.items_of_day(db, "local", now()),
    "jobs.begin_planning": lambda db, job_id: jobs.begin_planning(db, job_id, "token", timedelta(0)),
    "jobs.renew_plan": lambda db, job_id: jobs.renew_plan(db, job_id, "token", timedelta(0)),
    "jobs.end_planning": lambda db, job_id: jobs.end_planning(db, job_id, "token"),
    "jobs.add_progress": lambda db, job_id: jobs.add_progress(db, job_id, 0, {ItemStatus.SUCCEEDED: 1}, 1.0),
    "jobs.request_cancel": lambda db, job_id: jobs.request_cancel(db, job_id),
    "jobs.is_cancelled": lambda db, job_id: jobs.is_cancelled(db, job_id),
    "jobs.wait_for_quota": lambda db, job_id: jobs.wait_for_quota(db, job_id, now()),
    "jobs.begin_finalising": lambda db, job_id: jobs.begin_finalising(db, job_id, 0),
    "jobs.finish": finish,
    "jobs.find_active": lambda db, _: list(jobs.find_active(db, untouched_since=now())),
    "lifecycle.retry": lambda db, job_id: lifecycle.retry(db, job_id),
    "outcomes.find_range": lambda db, job_id: outcomes.find_range(db, job_id, 0, start=0, stop=9),
    "outcomes.totals": lambda db, job_id: outcomes.totals(db, job_id, 0),
    "outcomes.keep_until": lambda db, job_id: outcomes.keep_until(db, job_id, now()),
    "questions.ask": lambda db, job_id: questions.ask(db, job_id, 0, "approve", "well?", {}),
    "questions.answer_to": lambda db, job_id: questions.answer_to(db, job_id, 0, "approve"),
    "questions.open_questions": lambda db, job_id: questions.open_questions(db, job_id),
    "chunks.wake": lambda db, job_id: chunks.wake(db, job_id, 0),
    "reports.get": lambda db, job_id: suppressed(reports.get, db, job_id),
    "reports.findings_of": lambda db, job_id: reports.findings_of(db, job_id),
    "repairs.changes_of": lambda db, job_id: list(repairs.changes_of(db, job_id, 3)),
    "repairs.undo_of": lambda db, job_id: list(repairs.undo_of(db, job_id, 3)),
    "repairs.raw_before": lambda db, job_id: repairs.raw_before(db, [job_id]),
    "repairs.find_plan": lambda db, job_id: repairs.find_plan(db, job_id),
    "repairs.enter": lambda db, job_id: repairs.enter(db, job_id, 3, None),
    "repairs.is_undone": lambda db, job_id: repairs.is_undone(db, job_id),
    "ranges_of": lambda db, _: list(ranges_of(db, "jobs", behind=IdRange(collection="jobs", type="number"), size=10)),
    "contents.find": lambda db, _: contents.find(db, "hash", ("version",)),
    "audio_files.find_by_tag": lambda db, _: audio_files.find_by_tag(db, "titleKey", ["one"]),
    "audio_files.have_tags": lambda db, _: audio_files.have_tags(db),
    "contents.find_latest": lambda db, _: contents.find_latest(db, "hash"),
    "audio_files.find": lambda db, _: audio_files.find(db, "/music/one.mp3"),
    "audio_features.find_track": lambda db, _: audio_features.find_track(db, "ada", "track"),
    "audio_features.find_tracks": lambda db, _: audio_features.find_tracks(db, "ada", ["a", "b"]),
    "audio_features.find_track_ids": lambda db, _: audio_features.find_track_ids(db, "ada", "tr", limit=5),
    "audio_features.find_states": lambda db, _: audio_features.find_states(db, "ada", ["a", "b"]),
    "audio_features.touch_user": lambda db, _: audio_features.touch_user(db, "ada"),
    "disagreements.page": lambda db, _: disagreements.page(db, "ada", limit=5),
    "disagreements.page of a field": lambda db, _: disagreements.page(db, "ada", field="tempo", after="ada", limit=5),
    "provider_answers.find": lambda db, _: provider_answers.find(db, list(Provider), ["a", "b"]),
    "provider_endpoints.find": lambda db, _: provider_endpoints.find(db, "account:tracks"),
    "listening_history.played": lambda db, _: listening_history.played(db, "ada", with_spotify=False),
    "ratings.rated": lambda db, _: ratings.rated(db, "ada"),
    "recommendations.newest": lambda db, _: recommendations.newest(db, "ada", IndexName.TRACKS),
    "recommendations.delete_earlier_attempt": lambda db, job_id: recommendations.delete_earlier_attempt(
        db, "ada", IndexName.TRACKS, job_id, 20
    ),
    "clusters.newest": lambda db, _: clusters.newest(db, IndexName.TRACKS),
    "clusters.trials": lambda db, job_id: clusters.trials(db, job_id),
    "clusters.number_of": lambda db, job_id: clusters.number_of(db, IndexName.TRACKS, job_id, "one"),
    "clusters.delete_older": lambda db, _: clusters.delete_older(db, IndexName.TRACKS, now()),
    "users.user_ids": lambda db, _: list(user_ids(db, after="ada")),
    "audio_features.averages": lambda db, _: audio_features.averages(db, "ada"),
    "audio_features.profile": lambda db, _: audio_features.profile(db, PERIOD),
    "audio_features.newest": lambda db, _: audio_features.newest(db, "ada", []),
    "audio_features.count_and_newest": lambda db, _: audio_features.count_and_newest(db, "ada"),
    "listening_history.series": lambda db, _: listening_history.series(db, PERIOD, None, Granularity.DAY),
    "listening_history.series of a user": lambda db, _: listening_history.series(db, PERIOD, "ada", Granularity.DAY),
    "listening_history.totals": lambda db, _: listening_history.totals(db, PERIOD, None),
    "listening_history.top_tracks": lambda db, _: listening_history.top_tracks(db, PERIOD, None),
    "listening_history.by_hour_of_week": lambda db, _: list(listening_history.by_hour_of_week(db, PERIOD, "ada")),
    "recommendations.accuracy": lambda db, _: list(recommendations.accuracy(db, PERIOD, None, Granularity.DAY)),
    "recommendations.newest_judged of a user": lambda db, _: list(recommendations.newest_judged(db, PERIOD, "ada")),
    "artifacts.find": lambda db, _: artifacts.find(db, "art_1"),
    "artifacts.find_of_job": lambda db, job_id: artifacts.find_of_job(db, job_id),
    "artifacts.find_file": lambda db, _: artifacts.find_file(db, "file_1"),
    "artifacts.delete_files": lambda db, _: artifacts.delete_files(db, ["file_1"]),
    "exports.forget_key": lambda db, job_id: exports.forget_key(db, job_id),
    "analyses.find": lambda db, _: analyses.find(db, "analysis_1"),
    "imports of plays": lambda db, _: known_plays(db),
    "listening_history.add": lambda db, _: listening_history.add(db, "ada", [PLAY]),
    "connections.find": lambda db, _: connections.find(db, "local", "ada"),
    "connections.find_all": lambda db, _: connections.find_all(db, "local"),
    "connections.connected_user_ids": lambda db, _: list(connections.connected_user_ids(db, "local", after="ada")),
    "connections.begin_refresh": lambda db, _: connections.begin_refresh(db, CONNECTION, "one", hold=timedelta(0)),
    "connections.move_history": lambda db, _: connections.move_history(db, CONNECTION, 1),
    "connections.delete": lambda db, _: connections.delete(db, "local", "ada"),
    "authorizations.take": lambda db, _: authorizations.take(db, "local", "state"),
    "playlist_reads.find": lambda db, job_id: playlist_reads.find(db, job_id),
    "playlist_reads.add_page": lambda db, _: playlist_reads.add_page(
        db, READ, [], skipped=0, next_offset=None, stale=False
    ),
    "catalogue.find_many": lambda db, _: catalogue.find_many(db, ["mal-1"]),
    "catalogue.has_changed_tracks": lambda db, _: catalogue.has_changed_tracks(db, now() - timedelta(days=7)),
    "catalogue.find_removed": lambda db, _: catalogue.find_removed(db, ["mal-1"]),
    "catalogue.find_living": lambda db, _: catalogue.find_living(db, ["mal-0", "anilist-1"]),
    "catalogue.find_by_primary": lambda db, _: catalogue.find_by_primary(db, "anime", ["https://anidb.net/anime/1"]),
    "catalogue.find_known": lambda db, _: catalogue.find_known(db, ["mal-1"]),
    "catalogue.find_sharing": lambda db, _: catalogue.find_sharing(db, "anime", ["https://anidb.net/anime/1"]),
    "catalogue.mark_seen": lambda db, _: catalogue.mark_seen(db, ["mal-1"], "job"),
    "catalogue.count_seen": lambda db, _: catalogue.count_seen(db, "anime", "job"),
    "catalogue.iterate_unseen": lambda db, _: list(catalogue.iterate_unseen(db, "anime", "job")),
    "catalogue.remove": lambda db, _: catalogue.remove(db, ["mal-1"], "job"),
    "catalogue.delete": lambda db, _: catalogue.delete(db, ["mal-1"]),
    "imports.find": lambda db, job_id: imports.find(db, job_id),
    "imports.find_last": lambda db, _: imports.find_last(db, "anime"),
    "imports.find_running": lambda db, _: imports.find_running(db),
    "imports.take_turn": lambda db, job_id: imports.take_turn(db, job_id),
}


@pytest.mark.parametrize("name", QUERIES)
def test_an_index_serves(name: str, grown: Db, settings: Settings) -> None:
    job = grown["jobs"].find_one({"status": "partial"})
    assert job is not None
    recorder = Recorder()
    db = connect(settings, listeners=[recorder])
    ensure_indexes(db)
    recorder.sent.clear()

    QUERIES[name](db, job["_id"])

    assert recorder.sent, "nothing was asked"
    stages = {stage for command in list(recorder.sent) for stage in stages_of(explained(grown, command))}
    db.client.close()
    assert "COLLSCAN" not in stages


def test_a_scan_would_be_seen(grown: Db) -> None:
    command = {"find": "jobs", "filter": {"schedule": "nightly"}}

    assert "COLLSCAN" in set(stages_of(explained(grown, command)))


def explained(db: Db, command: Json) -> Any:
    """Return the server's plan for a command."""
    bare = {name: value for name, value in command.items() if name not in ("lsid", "$db", "txnNumber", "$clusterTime")}
    if "updates" in bare:
        bare = {"find": bare["update"], "filter": bare["updates"][0]["q"]}
    if "deletes" in bare:
        bare = {"find": bare["delete"], "filter": bare["deletes"][0]["q"]}
    return db.command("explain", bare, verbosity="queryPlanner", codec_options=CODEC)


def stages_of(plan: Any) -> Iterator[str]:
    """Yield every stage in a plan, however deep."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for part in plan.values():
            yield from stages_of(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages_of(part)
