"""Which Backline a command talks to: the one that it is told, the one on the data folder, or one just for the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from api.cli.client import Client
from api.cli.errors import NotReachable
from deploy.running import RunningStack, read_running_stack
from shared.settings import Settings, get_settings


def with_data(data: Path | None) -> Settings:
    """Return the settings, with the data folder that the command line names."""
    settings = get_settings()
    return settings if data is None else settings.model_copy(update={"data_dir": data.expanduser().absolute()})


class Address(NamedTuple):
    """Where a Backline is, and the key that opens it."""

    url: str
    key: str | None


def find_address(url: str | None, data: Path | None, *, must_last: bool = False) -> Address | None:
    """Return the address of a Backline, or None where none is named and none runs on the data folder.

    With `must_last`, one that was started for a single call doesn't count: it reads that call's files only, and
    stops with it.
    """
    settings = with_data(data)
    # A data folder on the command line is meant more than an address in the environment.
    told = url or (settings.url if data is None else None)
    stack = read_running_stack(settings.data_dir)
    own = None if settings.api_key is None else settings.api_key.get_secret_value()
    if told:
        is_ours = stack is not None and told.rstrip("/") == stack.url
        return Address(told, own or (stack.key if stack is not None and is_ours else None))
    if stack is None or (must_last and stack.is_temporary):
        return None
    return Address(stack.url, stack.key)  # a key of the environment is for somewhere else


def find_stack(url: str | None, data: Path | None) -> RunningStack | None:
    """Return the stack on this machine's data folder, unless an address is named."""
    settings = with_data(data)
    is_named = url is not None or (settings.url is not None and data is None)
    return None if is_named else read_running_stack(settings.data_dir)


@contextmanager
def connect(url: str | None, data: Path | None) -> Iterator[Client]:
    """Open a client of the running Backline. Raises `NotReachable` where there is none."""
    address = find_address(url, data)
    if address is None:
        raise NotReachable(f"No Backline runs on the data folder {with_data(data).data_dir}.")
    with Client(*address) as client:
        yield client
