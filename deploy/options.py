"""What may be chosen about a stack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.parts import PartsOf, backline_parts
from deploy.ports import LOOPBACK
from deploy.supervision import Limits
from shared.settings import Settings


def _key_file() -> Path | None:
    return Settings().api_key_file


def _redis_url() -> str | None:
    return Settings().redis_url


def _mongodb_uri() -> str | None:
    return Settings().mongodb_uri


def _search_url() -> str | None:
    return Settings().search_url


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """The choices for one stack; every default is usable."""

    data_dir: Path | None = None
    """Where data and logs stay; None for a temporary folder that goes when the stack stops."""
    music_roots: tuple[Path, ...] = ()
    """The folders whose files may be read."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes for heavy work."""
    host: str = LOOPBACK
    """The address that the front door listens on; one that others reach needs keys or an issuer."""
    port: int = 0
    """The front door's port; 0 takes any free one."""
    flower_port: int = 0
    """Flower's port; 0 takes any free one."""
    is_temporary: bool = False
    """It stops with the call that started it, so others had better not rely on it."""
    quiet: bool = False
    """Keep the log out of the terminal; it is always in the data folder, under ``logs/``."""
    key_file: Path | None = field(default_factory=_key_file)
    """Where the stack's key lies; None for the data folder."""
    redis_url: str | None = field(default_factory=_redis_url, repr=False)
    """A broker to use in place of an embedded one."""
    mongodb_uri: str | None = field(default_factory=_mongodb_uri, repr=False)
    """A MongoDB to use in place of the embedded one."""
    search_servers: int = 1
    """Processes that answer searches; each can use a core."""
    search_url: str | None = field(default_factory=_search_url)
    """A search server to use in place of one of the stack's own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More settings for every part, such as ``BACKLINE_LEASE_SECONDS``."""
    parts: PartsOf = backline_parts
    """What runs beside the servers."""
    limits: Limits = field(default_factory=Limits)
    """How patient the launcher is."""
