"""The dashboards themselves: what an operator looks at first, and where to look next."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, line, number

SEARCHES = '{route=~"/api/(search|recommendations|playlists|.*/similar).*"}'
RATE = "$__rate_interval"
"""Grafana puts in a length that holds several scrapes."""


def _rate(counter: str, by: str) -> str:
    return f"sum by ({by}) (rate({counter}[{RATE}]))"


def _sum(counter: str) -> str:
    return f"sum(rate({counter}[{RATE}]))"


def _quantile(part: float, histogram: str, by: str, chosen: str = "") -> str:
    return f"histogram_quantile({part}, sum by (le, {by}) (rate({histogram}_bucket{chosen}[{RATE}])))"


def zero(expr: str) -> str:
    """Show nothing as zero: what has never happened has no series."""
    return f"({expr}) or on() vector(0)"


HITS = f'sum(max by (kind) (rate(backline_cache_lookups_total{{result="hits"}}[{RATE}])))'
LOOKUPS = f'sum(max by (kind, result) (rate(backline_cache_lookups_total{{result=~"hits|misses"}}[{RATE}])))'


# Each replica of the API tells the state of the whole, the same: the highest is the number, the sum is not.
OVERVIEW = Dashboard(
    uid="backline-overview",
    title="Backline: overview",
    panels=(
        number("Servers that answer", "sum(max by (server) (backline_server_up))"),
        number("Worker processes", "sum(max by (worker) (backline_worker_memory_bytes) > bool 0)"),
        number("Chunks that wait", "sum(max by (queue) (backline_queue_chunks))"),
        number("Oldest chunk", "max(backline_queue_age_seconds)", unit="s"),
        number("Unfinished jobs", zero("sum(max by (kind, status) (backline_jobs_open))")),
        number("Requests that are being answered", "sum(backline_http_requests_open)"),
        line("Requests", (_rate("backline_http_requests_total", "status"), "{{status}}"), unit="reqps"),
        line(
            "Errors",
            (zero(_sum('backline_http_requests_total{status=~"5.."}')), "ours (5xx)"),
            (zero(_sum('backline_http_requests_total{status=~"4.."}')), "callers' (4xx)"),
            unit="reqps",
        ),
        line(
            "Latency, 95 of 100 requests",
            (_quantile(0.95, "backline_http_request_seconds", "route"), "{{route}}"),
            unit="s",
            words="Requests that wait for a job's end, or follow its events, are as long as they want to be.",
        ),
        line("Tool calls", (zero(_rate("backline_mcp_calls_total", "tool, outcome")), "{{tool}} {{outcome}}")),
        line("Items done", (_rate("backline_items_total", "kind, status"), "{{kind}} {{status}}")),
        line("Waiting chunks", ("max by (queue) (backline_queue_chunks)", "{{queue}}")),
    ),
)

WORK = Dashboard(
    uid="backline-work",
    title="Backline: jobs and workers",
    panels=(
        line("Jobs submitted", (_rate("backline_jobs_submitted_total", "kind"), "{{kind}}")),
        line("Jobs ended", (_rate("backline_jobs_ended_total", "kind, status"), "{{kind}} {{status}}")),
        line("Jobs tried again", (zero(_rate("backline_jobs_retried_total", "kind")), "{{kind}}")),
        line("Unfinished jobs", (zero("max by (kind, status) (backline_jobs_open)"), "{{kind}} {{status}}")),
        line("Oldest chunk", ("max by (queue) (backline_queue_age_seconds)", "{{queue}}"), unit="s"),
        line("Doorbells unanswered", ("max by (queue) (backline_queue_rings)", "{{queue}}")),
        line("Worker processes", ("max by (queue) (backline_queue_processes)", "{{queue}}")),
        line("A chunk's work, median", (_quantile(0.5, "backline_chunk_seconds", "kind"), "{{kind}}"), unit="s"),
        line("A job, 95 of 100", (_quantile(0.95, "backline_job_seconds", "kind"), "{{kind}}"), unit="s"),
        line("Items a second", (_rate("backline_items_total", "kind"), "{{kind}}")),
        line(
            "Chunks that changed hands or stopped half way",
            (zero(_rate("backline_chunks_total", "event")), "{{event}}"),
            words="taken_over and lease_lost: workers died or fell silent. given_back: they were stopped in order.",
        ),
        line(
            "Items that failed through the engine",
            (zero(_rate("backline_item_faults_total", "fault")), "{{fault}}"),
        ),
        line("The reaper", (_rate("backline_reaper_actions_total", "action"), "{{action}}")),
        line("Memory of the workers", ("max by (worker) (backline_worker_memory_bytes)", "{{worker}}"), unit="bytes"),
        line("Largest process", ("max by (worker) (backline_worker_memory_max_bytes)", "{{worker}}"), unit="bytes"),
        line("Longest still", (zero("max by (kind, status) (backline_jobs_still_seconds)"), "{{kind}}"), unit="s"),
    ),
)

SEARCH = Dashboard(
    uid="backline-search",
    title="Backline: search and indexes",
    panels=(
        line("Age of the oldest index", (zero("max by (index) (backline_index_age_seconds)"), "{{index}}"), unit="s"),
        line("Entries", (zero("max by (index) (backline_index_entries)"), "{{index}}")),
        line("Size of the snapshots", (zero("max by (index) (backline_index_bytes)"), "{{index}}"), unit="bytes"),
        line(
            "Searches",
            (zero(_rate(f"backline_http_requests_total{SEARCHES}", "route, status")), "{{route}} {{status}}"),
        ),
        line(
            "Latency of searches, 95 of 100",
            (zero(_quantile(0.95, "backline_http_request_seconds", "route", SEARCHES)), "{{route}}"),
            unit="s",
        ),
        line(
            "Inside the search server, 95 of 100",
            (zero(_quantile(0.95, "backline_search_seconds", "index, mode")), "{{index}} {{mode}}"),
            unit="s",
        ),
        line(
            "How searches end",
            (zero(_rate("backline_search_seconds_count", "outcome")), "{{outcome}}"),
            (_rate("backline_search_overloaded_total", "job"), "refused: too many wait"),
        ),
        line(
            "Searches at work and waiting",
            ("sum(backline_search_at_work)", "at work"),
            ("sum(backline_search_waiting)", "waiting"),
            ("sum(backline_search_asked)", "asked for by the API"),
            ("sum(backline_search_queued)", "waiting in the API"),
        ),
        line(
            "Embedding a query, 95 of 100",
            (zero(_quantile(0.95, "backline_search_embedding_seconds", "job")), "queries not seen of late"),
            unit="s",
        ),
        line(
            "Age of the oldest open snapshot",
            ("max by (index) (backline_search_index_age_seconds)", "{{index}}"),
            unit="s",
        ),
        line("Open snapshots", ("max by (index) (backline_search_index_bytes)", "{{index}}"), unit="bytes"),
        line(
            "Indexes whose newest snapshot is not open",
            ("max by (index) (backline_search_indexes_behind)", "{{index}}"),
        ),
        line("Memory of the search servers", ("backline_search_memory_bytes", "{{instance}}"), unit="bytes"),
        line(
            "Free space for indexes", ('backline_disk_free_bytes{folder=~"data|indexes"}', "{{folder}}"), unit="bytes"
        ),
    ),
)

PROVIDERS = Dashboard(
    uid="backline-providers",
    title="Backline: providers and their cache",
    panels=(
        number(
            "Circuit breakers that are not closed",
            "count(max by (provider, endpoint) (backline_provider_breaker_state) > 0) or vector(0)",
        ),
        number("Hit rate of the cache", f"{HITS} / clamp_min({LOOKUPS}, 1e-9)", unit="percentunit"),
        number("Answers that are kept", "max(backline_cache_entries)"),
        number("Their size", "max(backline_cache_bytes)", unit="bytes"),
        number("Providers that want rest", "sum(max by (provider) (backline_provider_paused_seconds) > bool 0)"),
        line(
            "Calls",
            (zero(_rate("backline_provider_calls_total", "provider, endpoint")), "{{provider}} {{endpoint}}"),
            unit="reqps",
        ),
        line(
            "Calls by how they ended",
            (zero(_rate("backline_provider_calls_total", "provider, outcome")), "{{provider}} {{outcome}}"),
            unit="reqps",
            words="held_back: the budget was spent, and the chunk went back. left_alone: the circuit breaker was open.",
        ),
        line(
            "Latency, 95 of 100 calls",
            (
                zero(_quantile(0.95, "backline_provider_call_seconds", "provider, endpoint")),
                "{{provider}} {{endpoint}}",
            ),
            unit="s",
        ),
        line(
            "Calls that are left",
            ("max by (provider, window) (backline_provider_remaining_calls)", "{{provider}} in {{window}}"),
            words="Large jobs use the budget up; that is what it is for.",
        ),
        line(
            "Circuit breakers",
            ("max by (provider, endpoint) (backline_provider_breaker_state)", "{{provider}} {{endpoint}}"),
            words="0 closed, 1 half open, 2 open.",
        ),
        line(
            "For how long they want rest",
            ("max by (provider) (backline_provider_paused_seconds)", "{{provider}}"),
            unit="s",
        ),
        line(
            "Questions to the cache",
            (f"max by (kind, result) (rate(backline_cache_lookups_total[{RATE}]))", "{{kind}} {{result}}"),
            unit="reqps",
        ),
    ),
)

DATABASE = Dashboard(
    uid="backline-database",
    title="Backline: MongoDB and Redis",
    panels=(
        line("Do they answer?", ("max by (server) (backline_server_up)", "{{server}}")),
        line("A small query", ("max by (server) (backline_server_seconds)", "{{server}}"), unit="s"),
        line(
            "Steps of a chunk, 95 of 100",
            (_quantile(0.95, "backline_store_seconds", "step"), "{{step}}"),
            unit="s",
            words="claim: take the next chunk. merge: write its results. record: insert its outcome. ring: tell other"
            " workers, by Redis.",
        ),
        line("Merges a second", (_sum('backline_store_seconds_count{step="merge"}'), "merges")),
        line(
            "Tasks that MongoDB let down",
            (zero(_sum("backline_store_outages_total")), "tasks"),
        ),
        line(
            "How far the last secondary is behind",
            (zero("max(backline_mongodb_replication_lag_seconds)"), "lag"),
            unit="s",
        ),
        line(
            "Memory of Redis",
            ("max(backline_redis_memory_bytes)", "used"),
            (zero("max(backline_redis_memory_limit_bytes)"), "limit (0: none)"),
            unit="bytes",
        ),
        line("Disks", ("1 - backline_disk_free_bytes / backline_disk_size_bytes", "{{folder}}"), unit="percentunit"),
        line("Memory of the API", ("process_resident_memory_bytes", "{{instance}}"), unit="bytes"),
    ),
)

PAGES = (OVERVIEW, WORK, SEARCH, PROVIDERS, DATABASE)
