"""What can stop a command, and the exit code that tells a script so."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from shared.errors import BacklineError

MESSAGE_MAX = 600  # characters: a request of thousands of wrong fields still makes one line


class ExitCode(IntEnum):
    """What the shell sees when a command ends."""

    OK = 0  # everything that was asked for is done
    NOT_ALL_GOOD = 1  # the job ended partial, failed or cancelled; or a part of the stack is down
    USAGE = 2  # the command line or an input file can't be understood; nothing was submitted
    UNREACHABLE = 3  # no Backline answers
    REFUSED = 4  # Backline answered, and refused: an unknown id, a finished job, a wrong cron expression
    INTERNAL = 70  # a mistake in the command itself
    INTERRUPTED = 130  # Ctrl-C


class CommandError(BacklineError):
    """A command can't go on; `hint` says what to do."""

    code = "command_failed"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_ALL_GOOD

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep what happened, and the hint that fits better than the class's own."""
        super().__init__(message)
        self.hint = self.advice if hint is None else hint


class WrongInput(CommandError):
    """The command line or a file that it names can't be understood."""

    code = "wrong_input"
    advice = "See --help for what the command takes."
    exit_code = ExitCode.USAGE


class NotReachable(CommandError):
    """No Backline answers."""

    code = "not_reachable"
    advice = "Start one with `backline up`, or say where it is with --url."
    exit_code = ExitCode.UNREACHABLE


class Refused(CommandError):
    """Backline answered with a problem document."""

    code = "refused"
    advice = ""
    exit_code = ExitCode.REFUSED

    def __init__(self, message: str, *, hint: str, status: int, problem_code: str) -> None:
        """Keep the HTTP status and the stable code of the problem."""
        super().__init__(message, hint=hint)
        self.status = status
        self.problem_code = problem_code


class Interrupted(CommandError):
    """Ctrl-C was pressed while a command waited for something that goes on."""

    code = "interrupted"
    advice = ""
    exit_code = ExitCode.INTERRUPTED


def to_line(error: BacklineError) -> str:
    """Return the one line that tells a person what happened and what to do."""
    hint = error.hint if isinstance(error, CommandError) else error.advice
    message = " ".join(error.message.split())
    message = message if len(message) <= MESSAGE_MAX else f"{message[:MESSAGE_MAX]} …"
    return f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {hint}".strip()
