"""The gate before a provider: budgets, pauses and breakers that all processes share, and what is left without Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from shared.clock import new_id
from shared.provider_state import read_state
from shared.providers import Account, Provider, Window, accounts, breaker_state, connect_redis, redis_now_ms
from shared.settings import Settings
from tests.flaky_proxy import flaky_proxy
from tests.machine import free_port
from tests.waiting import wait_until
from workers.providers.errors import BudgetSpent, ProviderDown, Refused, Throttled, Transient
from workers.providers.gate import Gate, Verdict
from workers.providers.ledger import share
from workers.providers.line import Line

ENDPOINT = "audio-features"


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    client = connect_redis(settings)
    assert client is not None
    yield client
    client.close()


def account(*windows: tuple[int, float]) -> Account:
    """Return an account that no other test knows."""
    return Account(
        provider=Provider.RECCOBEATS,
        name=new_id("test"),
        windows=tuple(Window(calls=calls, seconds=seconds) for calls, seconds in windows),
    )


def quick(settings: Settings, **more: Any) -> Settings:
    values = {"breaker_seconds": 0.3, "breaker_failures": 3, "provider_backoff_seconds": 0.0}
    return settings.model_copy(update={**values, **more})


def failing() -> None:
    raise Transient("It answers 500.")


def test_a_budget_is_one_for_all_and_holds_in_every_window(settings: Settings, redis: Redis) -> None:
    """Calls are under way for a moment, some longer: they reach the provider later than they were admitted."""
    own = account((10, 0.5))
    gates = [Gate(own, redis, settings) for _ in range(4)]
    arrivals: list[float] = []

    def work(gate: Gate, end: float) -> None:
        while time.monotonic() < end:
            try:
                ticket = gate.admit(ENDPOINT)
            except BudgetSpent as spent:
                time.sleep(min(spent.seconds, 0.05))
                continue
            time.sleep(0.05 * (len(arrivals) % 4))
            arrivals.append(time.monotonic())
            gate.settle(ticket, Verdict.ANSWERED)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda gate: work(gate, time.monotonic() + 2.5), gates))

    times = sorted(arrivals)
    assert len(times) >= 25
    for at in times:
        assert sum(1 for other in times if at <= other < at + 0.5) <= 10


def test_who_comes_too_early_is_told_when_there_is_room(settings: Settings, redis: Redis) -> None:
    gate = Gate(account((2, 60.0)), redis, settings)
    for _ in range(2):
        gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)

    with pytest.raises(BudgetSpent) as spent:
        gate.admit(ENDPOINT)

    assert 55 < spent.value.seconds <= 60
    assert not spent.value.is_quota


def test_the_narrowest_of_several_windows_counts(settings: Settings, redis: Redis) -> None:
    gate = Gate(account((5, 0.3), (7, 60.0)), redis, settings)
    for _ in range(5):
        gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)
    with pytest.raises(BudgetSpent, match="in this time are made"):
        gate.admit(ENDPOINT)

    def admitted() -> bool:
        try:
            gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)
        except BudgetSpent:
            return False
        return True

    wait_until(admitted, what="room in the short window")
    gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)
    with pytest.raises(BudgetSpent) as spent:
        gate.admit(ENDPOINT)
    assert spent.value.seconds > 50


@pytest.mark.parametrize("is_quota", [False, True])
def test_a_pause_that_a_provider_asks_for_is_kept_by_all(settings: Settings, redis: Redis, is_quota: bool) -> None:
    own = account((100, 1.0))
    mine, theirs = Gate(own, redis, settings), Gate(own, redis, settings)

    def throttled() -> None:
        raise Throttled("A day of rest.", seconds=86_400, is_quota=is_quota)

    with pytest.raises(Throttled):
        Line(mine, settings).call(ENDPOINT, throttled)

    with pytest.raises(BudgetSpent) as spent:
        theirs.admit("another")
    assert 86_390 < spent.value.seconds <= 86_400
    assert spent.value.is_quota is is_quota


def test_a_breaker_opens_for_all_and_then_lets_one_probe_through(settings: Settings, redis: Redis) -> None:
    own, chosen = account((1000, 1.0)), quick(settings)
    gates = [Gate(own, redis, chosen) for _ in range(4)]
    for gate in gates[:3]:
        gate.settle(gate.admit(ENDPOINT), Verdict.FAILED)
    for gate in gates:
        with pytest.raises(ProviderDown):
            gate.admit(ENDPOINT)
    gates[0].settle(gates[0].admit("another"), Verdict.ANSWERED)  # each endpoint has a breaker of its own

    def probes() -> list[Any]:
        def admitted(gate: Gate) -> Any:
            try:
                return gate.admit(ENDPOINT)
            except ProviderDown:
                return None

        with ThreadPoolExecutor(4) as pool:
            return [ticket for ticket in pool.map(admitted, gates) if ticket is not None]

    assert breaker_state(redis.hgetall(own.breaker_key(ENDPOINT)), redis_now_ms(redis)) == "open"
    (probe,) = wait_until(probes, what="a probe")
    assert breaker_state(redis.hgetall(own.breaker_key(ENDPOINT)), redis_now_ms(redis)) == "half_open"
    assert probes() == []
    gates[0].settle(probe, Verdict.FAILED)
    assert probes() == []
    (probe,) = wait_until(probes, what="another probe")
    gates[0].settle(probe, Verdict.ANSWERED)
    assert len(probes()) == 4
    assert redis.hgetall(own.breaker_key(ENDPOINT)) == {}


def test_a_call_is_tried_again_where_that_may_help(settings: Settings, redis: Redis) -> None:
    line = Line(Gate(account((1000, 1.0)), redis, settings), quick(settings, breaker_failures=100))
    tried: list[int] = []

    def third_time() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise Transient("It answers 502.")
        return "well"

    assert line.call(ENDPOINT, third_time) == "well"
    assert len(tried) == 3


@pytest.mark.parametrize("error", [Refused("no", status=400), Throttled("later", seconds=0.001)])
def test_a_call_is_not_tried_again_where_that_is_rude(settings: Settings, redis: Redis, error: Exception) -> None:
    line = Line(Gate(account((1000, 1.0)), redis, settings), quick(settings))
    tried: list[int] = []

    def refused() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        line.call(ENDPOINT, refused)
    assert len(tried) == 1


def test_attempts_end_where_the_breaker_opens(settings: Settings, redis: Redis) -> None:
    line = Line(Gate(account((1000, 1.0)), redis, quick(settings, breaker_failures=2)), quick(settings))

    with pytest.raises(ProviderDown):
        line.call(ENDPOINT, failing)


# Without Redis


def test_without_redis_each_process_keeps_to_its_share(settings: Settings) -> None:
    gate = Gate(account((100, 60.0)), None, quick(settings, provider_processes=16))
    for _ in range(6):
        gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)

    with pytest.raises(BudgetSpent):
        gate.admit(ENDPOINT)


@pytest.mark.parametrize(
    ("window", "processes", "expected"),
    [
        (Window(calls=100, seconds=60.0), 16, Window(calls=6, seconds=60.0)),
        (Window(calls=10, seconds=1.0), 16, Window(calls=1, seconds=1.6)),
        (Window(calls=10, seconds=1.0), 1, Window(calls=10, seconds=1.0)),
    ],
)
def test_a_share_is_never_more_than_a_part(window: Window, processes: int, expected: Window) -> None:
    assert share(window, processes) == expected
    assert processes * expected.calls / expected.seconds <= window.calls / window.seconds


def test_a_redis_that_goes_away_is_followed_by_a_window_of_silence_and_then_by_shares(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    client = connect_redis(away)
    gate = Gate(account((32, 0.4)), client, quick(away))
    with pytest.raises(BudgetSpent):
        gate.admit(ENDPOINT)

    def admitted() -> Any:
        try:
            return gate.admit(ENDPOINT)
        except BudgetSpent:
            return None

    first = wait_until(admitted, what="the end of the silence")
    assert first.is_local
    gate.settle(first, Verdict.ANSWERED)
    gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)
    with pytest.raises(BudgetSpent):
        gate.admit(ENDPOINT)


def test_a_redis_that_has_lost_its_data_is_followed_by_a_window_of_silence_for_all(
    settings: Settings, redis: Redis
) -> None:
    own = account((4, 1.0))
    mine, theirs = (Gate(own, redis, settings) for _ in range(2))
    for _ in range(4):
        mine.settle(mine.admit(ENDPOINT), Verdict.ANSWERED)
    redis.delete(own.count_key, *own.log_keys())

    with pytest.raises(BudgetSpent):  # who remembers sees to it
        mine.admit(ENDPOINT)
    assert read_state(redis, own).remaining == (0,)
    with pytest.raises(BudgetSpent):
        theirs.admit(ENDPOINT)
    wait_until(lambda: _admitted(mine), what="the end of the silence")
    assert _admitted(theirs)  # once is enough


def _admitted(gate: Gate) -> bool:
    try:
        gate.settle(gate.admit(ENDPOINT), Verdict.ANSWERED)
    except BudgetSpent:
        return False
    return True


def test_calls_that_were_made_without_redis_count_when_it_is_back(settings: Settings) -> None:
    there, port = settings.redis_url or "", free_port()
    chosen = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0", "provider_processes": 1})
    own = account((4, 1.0))
    clients = [client for _ in range(2) if (client := connect_redis(chosen)) is not None]
    alone, other = (Gate(own, client, chosen) for client in clients)
    with flaky_proxy(there, bytes_max=1 << 40, port=port):
        assert _admitted(alone)
    for client in clients:
        client.connection_pool.disconnect()
    assert not _admitted(alone)
    wait_until(lambda: _admitted(alone), what="the end of the silence")
    for _ in range(3):
        assert _admitted(alone)

    with flaky_proxy(there, bytes_max=1 << 40, port=port):
        assert not _admitted(alone)
        assert not _admitted(other)
        wait_until(lambda: _admitted(other), what="the end of the second silence")
        assert _admitted(alone)
        for client in clients:
            client.close()


def test_without_redis_a_breaker_still_opens(settings: Settings) -> None:
    line = Line(Gate(account((1000, 0.01)), None, quick(settings, provider_processes=1)), quick(settings))
    with pytest.raises(Transient):
        line.call(ENDPOINT, failing)

    with pytest.raises(ProviderDown):
        line.call(ENDPOINT, failing)


def test_accounts_are_told_apart_and_read_from_the_settings(settings: Settings) -> None:
    one = accounts(settings.model_copy(update={"spotify_client_id": "one", "spotify_budget": "3 per 2 seconds"}))
    two = accounts(settings.model_copy(update={"spotify_client_id": "two"}))

    assert one[Provider.SPOTIFY].windows == (Window(calls=3, seconds=2),)
    assert two[Provider.SPOTIFY].windows == (Window(calls=10, seconds=1), Window(calls=100, seconds=60))
    assert len({one[Provider.SPOTIFY].prefix, two[Provider.SPOTIFY].prefix}) == 2
    assert "one" not in one[Provider.SPOTIFY].prefix
