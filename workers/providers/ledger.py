"""What one process may do on its own while nobody counts for all: its share of a budget, and breakers of its own."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from shared.providers import Account, Window
from shared.settings import Settings


@dataclass(kw_only=True)
class _Breaker:
    failures: int = 0
    open_until: int | None = None  # ms


@dataclass(kw_only=True)
class _Log:
    """The calls that count within one window, by the time until which they do."""

    window: Window
    until: dict[str, int] = field(default_factory=dict)

    def wait_ms(self, now: int) -> int:
        """Return how long until there is room for another call; 0 where there is."""
        self.until = {call: end for call, end in self.until.items() if end > now}
        over = len(self.until) - self.window.calls
        return 0 if over < 0 else sorted(self.until.values())[over] - now


def share(window: Window, processes: int) -> Window:
    """Return what one of so many processes may do, in a longer time where it is less than a call."""
    calls = window.calls // processes
    if calls >= 1:
        return Window(calls=calls, seconds=window.seconds)
    return Window(calls=1, seconds=window.seconds * processes / window.calls)


class Ledger:
    """Counts for one process alone, in milliseconds of its own clock."""

    def __init__(self, account: Account, settings: Settings) -> None:
        """Begin with nothing known."""
        self._settings = settings
        self._logs = [_Log(window=share(window, settings.provider_processes)) for window in account.windows]
        self.longest_ms = int(max((window.seconds for window in account.windows), default=0) * 1000)
        self._last_call: int | None = None  # that Redis does not know of
        self._breakers: dict[str, _Breaker] = {}
        self._quiet_until = 0
        self._paused_until, self._is_quota = 0, False
        self._is_away = False

    def redis_is_away(self) -> None:
        """Keep quiet for one window: what all had called together before it is not known here."""
        if not self._is_away:
            self._is_away = True
            self._quiet_until = _now_ms() + self.longest_ms

    def redis_is_back(self) -> None:
        """Let Redis count again."""
        self._is_away = False
        self._last_call = None

    def unseen_ms(self) -> int:
        """Return how long ago a call was made that Redis does not know of; -1 where there is none."""
        return -1 if self._last_call is None else _now_ms() - self._last_call

    def admit(self, ticket: str, endpoint: str) -> tuple[str, int]:
        """Return the verdict in the gate's words, and for how many milliseconds it stands."""
        now = _now_ms()
        if self._paused_until > now:
            return ("quota" if self._is_quota else "paused"), self._paused_until - now
        breaker = self._breakers.setdefault(endpoint, _Breaker())
        if breaker.open_until is not None and breaker.open_until > now:
            return "open", breaker.open_until - now
        wait = max([self._quiet_until - now, *(log.wait_ms(now) for log in self._logs)])
        if wait > 0:
            return "spent", wait
        for log in self._logs:
            log.until[ticket] = now + math.ceil(log.window.seconds * 1000)
        self._last_call = now
        return "go", 0

    def settle(self, ticket: str, endpoint: str, has_failed: bool, pause_seconds: float, is_quota: bool) -> None:
        """Note how a call ended."""
        now = _now_ms()
        if any(ticket in log.until for log in self._logs):
            self._last_call = now
        for log in self._logs:
            log.until[ticket] = now + math.ceil(log.window.seconds * 1000)
        breaker = self._breakers.setdefault(endpoint, _Breaker())
        breaker.failures = breaker.failures + 1 if has_failed else 0
        is_open = has_failed and (breaker.failures >= self._settings.breaker_failures)
        breaker.open_until = now + int(self._settings.breaker_seconds * 1000) if is_open else None
        if pause_seconds > 0:
            self._paused_until, self._is_quota = now + int(pause_seconds * 1000), is_quota


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
