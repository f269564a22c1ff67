"""The line to a provider: each call through the gate, with the errors that are worth it tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from shared.settings import Settings
from workers.engine import counting
from workers.providers.errors import BudgetSpent, Malformed, ProviderDown, ProviderError, Throttled, Transient
from workers.providers.gate import Gate, Ticket, Verdict

BACKOFF_SECONDS_MAX = 8.0
Answer = TypeVar("Answer")


def longest_call_seconds(settings: Settings) -> float:
    """Return how long a call may take with all its attempts."""
    once = settings.provider_connect_seconds + settings.provider_timeout_seconds + BACKOFF_SECONDS_MAX
    return once * settings.provider_attempts


class Line:
    """Makes calls to one provider under one account."""

    def __init__(self, gate: Gate, settings: Settings) -> None:
        """Prepare; nothing is sent."""
        self.gate = gate
        self._provider = gate.account.provider.value
        base = settings.provider_backoff_seconds
        self._retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(settings.provider_attempts),
            # Full jitter: any part of the pause, so that those who failed together don't come back together.
            wait=wait_random_exponential(multiplier=base, max=BACKOFF_SECONDS_MAX),
            reraise=True,
        )

    def call(self, endpoint: str, send: Callable[[], Answer]) -> Answer:
        """Return what `send` returns, which raises the classes of `workers.providers.errors` alone.

        Raises:
            BudgetSpent: nobody may call now; nothing was sent.
            Throttled: the provider wants a pause, and every process keeps it from now on.
            ProviderDown, Transient, Malformed, Refused: there is no answer.
        """
        answer: Answer = self._retrying.copy()(self._once, endpoint, send)
        return answer

    def _once(self, endpoint: str, send: Callable[[], Answer]) -> Answer:
        ticket = self._admitted(endpoint)
        started = time.perf_counter()
        outcome = "failed"
        try:
            answer = send()
        except Throttled as error:
            outcome = "throttled"
            self.gate.settle(ticket, Verdict.THROTTLED, pause_seconds=error.seconds, is_quota=error.is_quota)
            raise
        except (Transient, Malformed) as error:
            outcome = "malformed" if isinstance(error, Malformed) else "failed"
            self.gate.settle(ticket, Verdict.FAILED)
            raise
        except ProviderError:
            outcome = "refused"
            self.gate.settle(ticket, Verdict.ANSWERED)
            raise
        except BaseException:
            self.gate.settle(ticket, Verdict.FAILED)
            raise
        else:
            outcome = "ok"
            self.gate.settle(ticket, Verdict.ANSWERED)
            return answer
        finally:
            counting.provider_called(self._provider, endpoint, outcome, time.perf_counter() - started)

    def _admitted(self, endpoint: str) -> Ticket:
        try:
            return self.gate.admit(endpoint)
        except (BudgetSpent, ProviderDown) as error:
            outcome = "held_back" if isinstance(error, BudgetSpent) else "left_alone"
            counting.provider_called(self._provider, endpoint, outcome, None)
            raise
