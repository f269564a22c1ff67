"""The Celery application, its queues, and the doorbells that are rung on them.

A message is only a doorbell: it says that there is something to do, never what the truth is. Any of them
may be lost, doubled or late; the reaper rings again for what MongoDB says is still to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu import Exchange
from kombu import Queue as KombuQueue
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from redis.exceptions import RedisError

from shared.settings import Settings, get_settings


class Queue(StrEnum):
    """Where a doorbell rings; each kind of load has its own, so that none waits behind another."""

    CONTROL = "control"  # plan, finish, reap, tick: short, never behind heavy work
    CPU = "cpu"  # numeric work, one process a core
    INDEX = "index"  # building indexes
    IO = "io"  # waiting for other services
    BULK = "bulk"  # large, unhurried work such as exports


class Task(StrEnum):
    """The only five Celery tasks; every job kind goes through them."""

    PLAN = "backline.plan"
    RUN = "backline.run"
    FINISH = "backline.finish"
    REAP = "backline.reap"
    TICK = "backline.tick"


BrokerError = (OperationalError, RedisError, OSError)
"""What a failed ring raises; the reaper repeats the ring, so a caller may log it and go on."""

SIX_HOURS = 6 * 3600

# kombu must not put unanswered doorbells back when a channel closes: the reaper rings again, and while the broker is
# away kombu 5.7 ends the whole worker with an AttributeError over it.
RedisChannel.do_restore = False


class TakenIsAnswered(RedisQoS):
    """Acknowledges only what waits for it; a doorbell was answered when it was taken.

    Celery acknowledges all the same, and kombu 5.7 passes that on: four Redis commands, nearly half of what a worker's
    parent process spends on a doorbell, and a tag for each that it never forgets.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, if it is one that somebody would otherwise put back."""
        if delivery_tag in self._delivered:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu ships no types


RedisChannel.QoS = TakenIsAnswered


def _queues() -> list[KombuQueue]:
    # The nameless exchange routes by queue name without a binding table, so that publishing still works
    # after somebody flushed Redis.
    nameless = Exchange("", type="direct")
    # A doorbell is answered by taking it (`no_ack`).
    return [KombuQueue(name.value, nameless, routing_key=name.value, no_ack=True) for name in Queue]


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.redis_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            # Recovery comes from leases in MongoDB, never from redelivery.
            "visibility_timeout": SIX_HOURS,
            "unacked_restore_interval": 30,
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            # redis-py must not reconnect by itself: after a dropped connection it would subscribe anew and then wait
            # in kombu's event loop for a message without a limit, and the worker would never take a task again.
            "retry_on_timeout": False,
            # Each priority would be a list of its own in Redis, to be named in every wait; the queues do that part.
            "priority_steps": [0],
        },
        "task_queues": _queues(),
        "task_default_queue": Queue.CONTROL.value,
        "task_default_exchange": "",
        "task_default_routing_key": Queue.CONTROL.value,
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # A doorbell is taken off the queue when it is answered, not when the work is done: leases bring lost
        # work back. kombu 5.7 can't acknowledge across a broken connection, so a late acknowledgement would end
        # every worker that was busy when the broker went away.
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 2000,
        "worker_max_memory_per_child": settings.worker_memory_mb * 1024,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "enable_utc": True,
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": 5.0,  # above its entries' intervals, so that it wakes up for them alone
        "beat_schedule": {
            "reap": _beat_entry(Task.REAP, settings.reap_seconds),
            "tick": _beat_entry(Task.TICK, settings.tick_seconds),
        },
    }


def _beat_entry(task: Task, seconds: float) -> dict[str, Any]:
    # A ring that waited longer than the next one is due is worth nothing, so it expires.
    options = {"queue": Queue.CONTROL.value, "expires": max(seconds * 2, 2.0), "ignore_result": True}
    return {"task": task.value, "schedule": seconds, "options": options}


@lru_cache(maxsize=1)
def celery_app() -> Celery:
    """Return this process's Celery application; the workers add the tasks to it."""
    app = Celery("backline", set_as_current=True)
    app.conf.update(_configuration(get_settings()))
    return app


def shorten_timeouts(seconds: float) -> None:
    """Give up on a broker that does not answer within `seconds`, in a process that people wait for."""
    options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    # Without these a publish would try to connect for ever.
    retries = {"max_retries": 1, "interval_start": 0, "connect_retries_timeout": seconds}
    configuration = celery_app().conf
    configuration.broker_transport_options = {**configuration.broker_transport_options, **options, **retries}


def _ring(task: Task, queue: Queue, args: Sequence[Any], *, expires: float | None = None) -> None:
    celery_app().send_task(
        task.value, args=list(args), queue=queue.value, ignore_result=True, retry=False, expires=expires
    )


def ring_plan(job_ids: Sequence[str], *, is_counting: bool = False) -> None:
    """Ask for these jobs' next chunks to be laid out, and their items to be counted on."""
    _ring(Task.PLAN, Queue.CONTROL, [list(job_ids), is_counting])


def ring_run(queue: Queue, times: int) -> None:
    """Ask `times` worker slots of `queue` to take a chunk each."""
    for _ in range(times):
        _ring(Task.RUN, queue, [queue.value])


def ring_finish(job_id: str) -> None:
    """Ask for the job to be brought to its end."""
    _ring(Task.FINISH, Queue.CONTROL, [job_id])


def waiting_rings(queue: Queue) -> int:
    """Return how many doorbells lie unanswered in `queue`."""
    with celery_app().pool.acquire(block=True) as connection:
        return int(connection.default_channel.client.llen(queue.value))
