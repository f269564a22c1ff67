"""The request that is being answered: who came, from where, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Security
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from api.access.limits import Standing
from shared.access import Principal, Scope
from shared.errors import NotAllowed, NotAuthenticated


@dataclass(kw_only=True)
class Visit:
    """One request, filled in on its way."""

    door: str  # rest or mcp
    address: str | None  # where it came from
    principal: Principal | None = None
    action: str | None = None  # the route's or the tool's name, once it is known
    target: str | None = None  # what it is done to
    outcome: str = "ok"  # or the code of the problem that was answered
    changes: bool = False  # whether it may change something
    standings: list[Standing] = field(default_factory=list)  # what is left of the budgets that it used

    @property
    def owner(self) -> str | None:
        """Whose request it is, once that has been proved."""
        return None if self.principal is None else self.principal.owner


# The routes and the tools of assistants run in tasks and threads of their own, to which a context variable finds its
# way; the SDK of the latter hands its requests on in the same manner.
_current: ContextVar[Visit | None] = ContextVar("visit", default=None)


@contextmanager
def receiving(visit: Visit) -> Iterator[Visit]:
    """Let `visit` be the request that is being answered within the block."""
    token = _current.set(visit)
    try:
        yield visit
    finally:
        _current.reset(token)


def current() -> Visit:
    """Return the request that is being answered. Raises `NotAuthenticated` outside of any."""
    visit = _current.get()
    if visit is None:
        raise NotAuthenticated("Nobody is known to have asked for this.")
    return visit


def note_outcome(code: str) -> None:
    """Keep what the request was answered with, for the record."""
    visit = _current.get()
    if visit is not None:
        visit.outcome = code


def principal(*scopes: Scope) -> Principal:
    """Return who asks, if they may do what needs these scopes. Raises `NotAuthenticated`, `NotAllowed`."""
    found = current().principal
    if found is None:
        raise NotAuthenticated("No key came with the request.")
    for scope in scopes:
        if scope not in found.scopes:
            raise NotAllowed(f"This needs the scope {scope.value}, which {found.actor} does not have.", scope=scope)
    return found


# As dependencies of routes

SCHEME = "key"
"""What the description of the routes calls a key or token."""


class _Allowed(SecurityBase):
    """Lets in whom the guard has let in, if they have the scopes of the route; it describes both, too."""

    model = HTTPBearerModel(description="A key (`backline keys create`), or an access token of the configured issuer")
    scheme_name = SCHEME

    async def __call__(self, scopes: SecurityScopes) -> Principal:
        """Return who asks. Raises `NotAuthenticated`, `NotAllowed`."""
        return principal(*map(Scope, scopes.scopes))


_allowed = _Allowed()

Reader = Annotated[Principal, Security(_allowed, scopes=[Scope.JOBS_READ.value])]
Writer = Annotated[Principal, Security(_allowed, scopes=[Scope.JOBS_WRITE.value])]
Keeper = Annotated[Principal, Security(_allowed, scopes=[Scope.DATABASE.value])]
Searcher = Annotated[Principal, Security(_allowed, scopes=[Scope.SEARCH.value])]
Operator = Annotated[Principal, Security(_allowed, scopes=[Scope.METRICS.value])]
Admin = Annotated[Principal, Security(_allowed, scopes=[Scope.ADMIN.value])]
