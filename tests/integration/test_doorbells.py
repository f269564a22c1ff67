"""What a doorbell costs Redis and the worker that takes it."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from kombu import Consumer

from shared.broker import Queue, celery_app, ring_run, waiting_rings
from shared.settings import Settings

RINGS = 3


@pytest.fixture
def rung(settings: Settings) -> redis.Redis:
    """A Redis in which the doorbells of one queue wait, and nothing has been counted yet."""
    assert settings.redis_url is not None
    valkey = redis.Redis.from_url(settings.redis_url)
    valkey.flushall()
    ring_run(Queue.CPU, RINGS)
    valkey.config_resetstat()
    return valkey


def test_a_doorbell_that_was_taken_needs_no_answer(rung: redis.Redis) -> None:
    taken: list[Any] = []

    def answer(body: Any, message: Any) -> None:
        taken.append(body)
        message.ack()  # as Celery does

    # Given a worker that takes every doorbell
    with celery_app().connection_for_read() as connection:
        queue = celery_app().amqp.queues[Queue.CPU.value]
        with Consumer(connection, [queue], callbacks=[answer]) as consumer:
            while len(taken) < RINGS:
                connection.drain_events(timeout=10)
            unforgotten = consumer.channel.qos._dirty

    # Then Redis was asked for nothing but the doorbells, and nothing of them is kept
    commands: dict[str, Any] = rung.info("commandstats")
    rung.close()
    assert commands["cmdstat_brpop"]["calls"] >= RINGS
    assert {"cmdstat_zrem", "cmdstat_hdel", "cmdstat_zadd", "cmdstat_hset"}.isdisjoint(commands)
    assert not unforgotten


def test_looking_into_a_queue_opens_no_connection_each_time(rung: redis.Redis) -> None:
    assert waiting_rings(Queue.CPU) == RINGS
    rung.config_resetstat()

    for _ in range(5):
        waiting_rings(Queue.CPU)

    commands: dict[str, Any] = rung.info("commandstats")
    rung.close()
    assert commands["cmdstat_llen"]["calls"] == 5
    assert "cmdstat_hello" not in commands
