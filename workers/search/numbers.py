"""What one search server counts of its searches, and how it stands, for Prometheus."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.clock import now
from shared.errors import BacklineError, SearchOverloaded, SearchTimedOut, ServiceUnavailable
from shared.search import AnySearch
from shared.store.indexes import IndexName
from workers.exposition import count_into
from workers.memory import resident_mb
from workers.search.opened import OpenIndex

SEARCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

OK, REFUSED, OVERLOADED, TIMED_OUT, FAILED, CUT_OFF = "ok", "refused", "overloaded", "timed_out", "failed", "cut_off"
"""How a search ends: well; for the caller's mistake; for too many others; for its own length; for one of ours or a
server that is down; or because who asked went away."""

SIMILAR, PLAYLIST = "similar", "playlist"
"""What stands for the mode of a search without words, and of the building of a playlist."""

LATEST: Literal["mostrecent"] = "mostrecent"
"""What stands in the file is the server's own; its successor in the same place goes on with it."""


def mode_of(search: AnySearch) -> str:
    """Return in which way something is looked for."""
    return SIMILAR if search.query is None else search.mode.value


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a search server stands at a moment."""

    opened: Sequence[tuple[str, OpenIndex]]  # by the index's name
    resting: Sequence[str]  # the name of each that is opened again by the next search for it
    behind: Sequence[str]  # the name of each whose current snapshot is not open
    followed_at: float  # when the pointers were read last, in seconds since 1970


class SearchNumbers:
    """The counters of one search server; in memory where nobody reads them."""

    def __init__(self, folder: Path | None = None, place: str = "search") -> None:
        """Count into files of a folder that bear the name of this server's place, if there is one."""
        if folder is not None:
            count_into(folder, place)
        registry = CollectorRegistry()
        self._seconds = Histogram(
            "backline_search_seconds",
            "Time from a search's arrival to its answer, by how it ended",
            ("index", "mode", "outcome"),
            buckets=SEARCH_SECONDS,
            registry=registry,
        )
        self._embedding = Histogram(
            "backline_search_embedding_seconds",
            "Time to embed a query that was not embedded of late",
            buckets=SEARCH_SECONDS,
            registry=registry,
        )
        self._opened = Counter("backline_search_opened", "Snapshots opened", ("index",), registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"backline_search_{name}", words, labels, registry=registry, multiprocess_mode=LATEST)

        self._at_work = gauge("at_work", "Searches that a thread works on")
        self._waiting = gauge("waiting", "Searches that wait for a thread")
        self._memory = gauge("memory_bytes", "Resident memory of the server")
        self._followed = gauge("followed_timestamp_seconds", "When the pointers were last read")
        self._indexes = gauge("indexes", "Open indexes of all owners", "index")
        self._resting = gauge("indexes_resting", "Indexes that the next search opens again", "index")
        self._behind = gauge("indexes_behind", "Indexes whose current snapshot is not the open one", "index")
        self._age = gauge("index_age_seconds", "Age of the oldest open snapshot", "index")
        self._bytes = gauge("index_bytes", "Size of the open snapshots of all owners", "index")

        self.at_desk(0, 0)  # a file tells of no gauge that was never set

    @contextmanager
    def searching(self, index: str, mode: str) -> Iterator[None]:
        """Count and time a search, however it ends."""
        started, outcome = time.perf_counter(), CUT_OFF
        try:
            yield
            outcome = OK
        except Exception as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._seconds.labels(index, mode, outcome).observe(time.perf_counter() - started)

    def embedded(self, seconds: float) -> None:
        """Count a query that the model was asked about."""
        self._embedding.observe(seconds)

    def swapped(self, index: str) -> None:
        """Count a snapshot that was opened."""
        self._opened.labels(index).inc()

    def at_desk(self, at_work: int, waiting: int) -> None:
        """Note how many searches are worked on, and how many wait."""
        self._at_work.set(at_work)
        self._waiting.set(waiting)

    def stand(self, standing: Standing) -> None:
        """Note how the server stands."""
        self._memory.set(resident_mb() * 1e6)
        self._followed.set(standing.followed_at)
        by_name: dict[str, list[OpenIndex]] = defaultdict(list)
        for name, opened in standing.opened:
            by_name[name].append(opened)
        for name in IndexName:
            some = by_name[name.value]
            self._indexes.labels(name.value).set(len(some))
            self._resting.labels(name.value).set(sum(one == name.value for one in standing.resting))
            self._behind.labels(name.value).set(sum(one == name.value for one in standing.behind))
            ages = [(now() - one.published.built_at).total_seconds() for one in some]
            self._age.labels(name.value).set(max(ages, default=0.0))
            self._bytes.labels(name.value).set(sum(one.snapshot.size for one in some))


def _outcome_of(error: Exception) -> str:
    if isinstance(error, SearchOverloaded):
        return OVERLOADED
    if isinstance(error, SearchTimedOut):
        return TIMED_OUT
    return REFUSED if isinstance(error, BacklineError) and not isinstance(error, ServiceUnavailable) else FAILED
