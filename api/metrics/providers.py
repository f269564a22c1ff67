"""Other providers and the cache of what they said, as numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.cache_use import CacheCounts
from shared.provider_state import AccountState
from shared.providers import Account

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}


def of_providers(found: Sequence[tuple[Account, AccountState]]) -> Iterator[Metric]:
    """Yield what is left of each budget, how long each provider wants to be left alone, and the circuit breakers."""
    budget = _gauge("provider_budget_calls", "Calls that all workers together may make", ("provider", "window"))
    left = _gauge("provider_remaining_calls", "Calls that are left of a budget", ("provider", "window"))
    paused = _gauge("provider_paused_seconds", "For how long a provider wants to be left alone", ("provider",))
    breaker = _gauge("provider_breaker_state", "0 closed, 1 half open, 2 open", ("provider", "endpoint"))
    for account, state in found:
        name = account.provider.value
        for window, remaining in zip(account.windows, state.remaining, strict=True):
            budget.add_metric((name, f"{window.seconds:g}s"), window.calls)
            left.add_metric((name, f"{window.seconds:g}s"), remaining)
        paused.add_metric((name,), state.paused_seconds)
        for endpoint, how in state.breakers.items():
            breaker.add_metric((name, endpoint), BREAKER_STATES[how])
    yield from (budget, left, paused, breaker)


def of_cache(found: CacheCounts) -> Iterator[Metric]:
    """Yield how often the cache was asked, by kind of data and by what it had, and its size."""
    lookups = CounterMetricFamily(
        "backline_cache_lookups", "Questions to the cache of others' answers", labels=("kind", "result")
    )
    for kind, results in found.lookups.items():
        for result, count in results.items():
            lookups.add_metric((kind, result), count)
    yield lookups
    entries = _gauge("cache_entries", "Answers of others that are kept", ())
    entries.add_metric((), found.entries)
    size = _gauge("cache_bytes", "Bytes of the answers that are kept", ())
    size.add_metric((), found.size)
    yield from (entries, size)


def _gauge(name: str, words: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"backline_{name}", words, labels=labels)
