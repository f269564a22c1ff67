"""Ring, or log that nobody could: the reaper rings again for whatever MongoDB says is still to be done."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from shared import broker
from shared.broker import BrokerError, Queue
from workers.engine import counting

logger = logging.getLogger(__name__)


def ring_plan(job_ids: Sequence[str], *, is_counting: bool = False) -> None:
    """Ask for these jobs' next chunks to be laid out, and their items to be counted on."""
    try:
        with counting.timing(counting.RING):
            broker.ring_plan(job_ids, is_counting=is_counting)
    except BrokerError as error:
        logger.warning("could not ring for the plan of %s: %s", ", ".join(job_ids), error)


def ring_run(queue: Queue, times: int) -> None:
    """Ask `times` worker slots of `queue` to take a chunk each."""
    try:
        with counting.timing(counting.RING):
            broker.ring_run(queue, times)
    except BrokerError as error:
        logger.warning("could not ring %d times on %s: %s", times, queue, error)


def ring_finish(job_id: str) -> None:
    """Ask for the job to be brought to its end."""
    try:
        with counting.timing(counting.RING):
            broker.ring_finish(job_id)
    except BrokerError as error:
        logger.warning("could not ring for the end of %s: %s", job_id, error)
