"""Who asks, and what they may do: the same words for keys, tokens and every door."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import InvalidRequest

DEFAULT_OWNER = "local"
"""Whose everything is where one installation serves one owner; their library is the main database itself."""

ISSUED_OWNER = "oidc-"
"""What the names of owners begin with that stand for subjects of an issuer: nobody may choose such a name."""

OWNER_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
"""Lower-case letters, digits, `-` and `_`: an owner's name is a part of ids and of a database's name."""


class Scope(StrEnum):
    """What a key or a token lets its holder do, always within what is its owner's."""

    JOBS_READ = "jobs:read"  # jobs, items, schedules, kinds, features
    JOBS_WRITE = "jobs:write"  # submit, cancel, retry, schedules
    SEARCH = "search"  # search and recommendations
    DATABASE = "database"  # validation, repair, export and analytics of the owner's database
    METRICS = "metrics"  # the numbers and the health of the whole installation, for Prometheus and operators
    ADMIN = "admin"  # keys and the audit log of the whole installation


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Whoever a request comes from, once that has been proved."""

    owner: str  # whose jobs, schedules and library it sees
    scopes: frozenset[Scope]
    actor: str  # what the audit log names: a key's id, or an issuer's subject; never a secret


def checked_owner(name: str) -> str:
    """Return the name of an owner. Raises `InvalidRequest`."""
    if not re.fullmatch(OWNER_PATTERN, name):
        reason = "must be 1 to 32 lower-case letters, digits, '-' or '_', and begin with a letter or digit"
        raise InvalidRequest(f"The owner {name!r} {reason}.", fields=[("owner", reason)])
    return name


def checked_new_owner(name: str) -> str:
    """Return the name of an owner that somebody has chosen. Raises `InvalidRequest`."""
    if checked_owner(name).startswith(ISSUED_OWNER):
        reason = f"must not begin with {ISSUED_OWNER!r}: such names are made for the subjects of an issuer"
        raise InvalidRequest(f"The owner {name!r} {reason}.", fields=[("owner", reason)])
    return name


def known_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return those of the names that are scopes; what others mean by theirs is passed over."""
    known = {scope.value: scope for scope in Scope}
    return frozenset(known[name] for name in names if name in known)
