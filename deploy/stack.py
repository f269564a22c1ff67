"""The whole of Backline on one machine: started, watched, and stopped with nothing left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from rich.console import Console
from rich.text import Text

from deploy.announcements import AnnouncementsForPeople, AnnouncementsForPrograms
from deploy.errors import StoppedEarly
from deploy.keeper import Keeper
from deploy.options import StackOptions
from deploy.running import RunningStack, read_running_stack
from shared.errors import BacklineError

__all__ = ["RunningStack", "Stack", "StackOptions", "read_running_stack", "run_foreground", "temporary_stack"]

LOOK_SECONDS = 0.1
CALM_LOOK_SECONDS = 1.0
"""Where a signal does not end a wait (macOS), it is answered within this."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


class Stack:
    """One stack that this process runs."""

    def __init__(self, options: StackOptions, *, on_phase: Callable[[str], None] | None = None) -> None:
        """Prepare; nothing happens before `start`, which tells `on_phase` what it waits for."""
        self._on_phase = on_phase or (lambda phase: None)
        self._screen = Console(stderr=True)
        self._keeper = Keeper(options, console=None if options.quiet else self._screen)

    def start(self) -> RunningStack:
        """Start all parts and return once every one is ready, with one status line on a terminal.

        Raises:
            LauncherError: it could not be started; whatever had started is stopped again.
        """
        keeper = self._keeper
        keeper.start()
        with self._screen.status("") as status:
            while not keeper.ready.wait(LOOK_SECONDS):
                status.update(Text(keeper.phase, no_wrap=True, overflow="ellipsis"))
                self._on_phase(keeper.phase)
                while not keeper.warnings.empty():
                    self._screen.print(Text(keeper.warnings.get()), soft_wrap=True)
        if keeper.running is None:
            keeper.finished.wait()
            raise keeper.failure or StoppedEarly("Stopped before everything was ready.")
        return keeper.running

    def wait(self) -> None:
        """Return when the stack has stopped, for whatever reason."""
        while not self._keeper.finished.wait(CALM_LOOK_SECONDS):
            pass

    def ask_to_stop(self) -> None:
        """Begin to stop; asked again, hurry."""
        if self._keeper.stopping.is_set():
            self._keeper.hurry.set()
        self._keeper.stopping.set()

    def stop(self) -> None:
        """Stop all parts in order and return when nothing is left; a signal meanwhile hurries."""
        self._keeper.stopping.set()
        if self._keeper.ident is None:
            return
        with on_signals(lambda _number, _frame: self.ask_to_stop()):
            self.wait()

    @property
    def failure(self) -> BacklineError | None:
        """Why the stack stopped by itself, if it did."""
        return self._keeper.failure


@contextmanager
def on_signals(handler: Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Let `handler` answer the signals that ask for an end; only the main thread can, others leave it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal that is ignored stays ignored: that is how nohup lets a program outlive its terminal.
    wanted = [number for number in numbers or STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, old in former.items():
            signal.signal(number, old)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def temporary_stack(options: StackOptions) -> Iterator[RunningStack]:
    """Run a stack for the length of a ``with`` block; it stops however the block ends.

    Raises:
        LauncherError: it could not be started, or had to give up in the middle.
    """
    stack = Stack(replace(options, is_temporary=True))
    with on_signals(_leave, signal.SIGTERM, signal.SIGHUP):
        try:
            yield stack.start()
        except Exception as error:
            stack.stop()
            if stack.failure is None or stack.failure is error:
                raise
            raise stack.failure from error
        finally:
            stack.stop()
    if stack.failure is not None:
        raise stack.failure


def run_foreground(options: StackOptions, *, as_json: bool = False) -> int:
    """Run a stack until a signal; return the exit code for the shell."""
    announce = AnnouncementsForPrograms() if as_json else AnnouncementsForPeople()
    stack = Stack(options, on_phase=announce.phase)
    stopped_by: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped_by.append(number)
        stack.ask_to_stop()

    with on_signals(stop):
        try:
            announce.ready(stack.start())
        except StoppedEarly as error:
            if as_json or stopped_by[0] != signal.SIGINT:  # of Ctrl-C, a person knows
                announce.failure(error)
            return 128 + stopped_by[0]
        except BacklineError as error:
            announce.failure(error)
            return 1
        stack.wait()
    if stack.failure is not None:
        announce.failure(stack.failure)
        return 1
    announce.stopped()
    return 0
