"""Watching jobs on the terminal, and what Ctrl-C means meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from api.cli import output
from api.cli.client import Client, Json
from api.cli.errors import CommandError, ExitCode, Interrupted, NotReachable
from api.cli.overview import overview
from api.cli.progress import show_progress
from api.cli.watching import watch

NAMED_MAX = 3  # ids that a message spells out


def follow(client: Client, job_ids: Sequence[str], *, title: str) -> list[Json]:
    """Show the progress of jobs until they have ended, and return them."""
    jobs: dict[str, Json] = {}
    with show_progress(title) as show:
        for jobs in watch(client, job_ids):
            show(jobs.values())
    return [jobs[job_id] for job_id in job_ids]


@contextmanager
def goes_on(job_ids: Sequence[str]) -> Iterator[None]:
    """Say, when Ctrl-C or an outage ends the watching, that the jobs go on, and how to watch or cancel them."""
    try:
        yield
    except KeyboardInterrupt:
        if not job_ids:
            raise Interrupted("Interrupted; nothing was submitted.") from None
        raise Interrupted(
            f"No longer watching; {_named(job_ids)}.",
            hint=f"Watch: {_command('watch', job_ids)}. Stop: {_command('cancel', job_ids)}.",
        ) from None
    except NotReachable as error:
        if not job_ids:
            raise
        hint = f"Once it is back, {_named(job_ids)}: {_command('watch', job_ids)}."
        raise NotReachable(error.message, hint=hint) from None


def _command(name: str, job_ids: Sequence[str]) -> str:
    return f"`backline jobs {name} {' '.join(job_ids)}`"


def _named(job_ids: Sequence[str]) -> str:
    if len(job_ids) <= NAMED_MAX:
        return f"{', '.join(job_ids)} {'goes' if len(job_ids) == 1 else 'go'} on"
    return f"{len(job_ids)} jobs go on"


@contextmanager
def cancelled_on_the_way_out(client: Client, job_ids: Sequence[str]) -> Iterator[None]:
    """Cancel the jobs when Ctrl-C or a signal ends the command that runs the stack under them."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        output.say("Cancelling, and stopping the stack that was started for this call...")
        for job_id in job_ids:
            try:
                client.cancel(job_id)
            except CommandError:
                continue  # it has ended, or the stack is down already
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(
                "Cancelled.", hint="What was done is kept; the same command goes on where this one ended."
            ) from None
        raise


def exit_code_of(jobs: Sequence[Json]) -> ExitCode:
    """Return whether all that was asked for is done."""
    return ExitCode.OK if overview(jobs).status == "succeeded" else ExitCode.NOT_ALL_GOOD
