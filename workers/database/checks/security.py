"""Checks on who may get at the database: authentication, roles, encryption, addresses. Nothing is tried, only asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from pymongo.errors import OperationFailure
from pymongo.uri_parser import parse_uri

from shared.findings import Severity
from shared.model import Json
from workers.database.checks.check import Found, Scene, ServerCheck

WIDE_ROLES = frozenset(
    (
        *("root", "__system", "dbOwner", "clusterAdmin"),
        *("dbAdminAnyDatabase", "readWriteAnyDatabase", "userAdminAnyDatabase"),
    )
)
DEFAULT_DATABASES = frozenset(("test",))
LOOPBACK_NAMES = frozenset(("localhost",))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, as a name, an address or a socket's path."""
    if host in LOOPBACK_NAMES or host.endswith(".sock"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(scene: Scene) -> Json:
    uri = scene.context.settings.mongodb_uri or "mongodb://localhost"
    # A srv address would be looked up; its hosts are others' machines in any case, and TLS is on unless it says not.
    if uri.startswith("mongodb+srv://"):
        return {"nodelist": [("", None)], "options": {"tls": "tls=false" not in uri and "ssl=false" not in uri}}
    return parse_uri(uri)


def is_far(scene: Scene) -> bool:
    """Whether the connection leaves this machine."""
    return not all(is_loopback(host) for host, _ in _address(scene)["nodelist"])


class NoAuthentication(ServerCheck):
    """The server asks nobody who they are, and others can reach it."""

    id = "no_authentication"
    title = "No authentication"
    severity = Severity.CRITICAL
    why = "Whoever reaches the server reads and changes everything."
    advice = "Switch authorization on, and put a user with the role readWrite on this database into MONGODB_URI."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether this connection has no user, to a server on another machine."""
        users = _users(scene)
        if users is None:
            yield self.skipped(scene, "the server does not say who is connected")
        else:
            yield self.tally(scene, int(not users and is_far(scene)))


class OpenOnLoopback(ServerCheck):
    """The server asks nobody who they are, but only this machine reaches it."""

    id = "open_on_loopback"
    title = "No authentication on this machine"
    severity = Severity.INFO
    why = "Every program of this machine may read and change everything."
    advice = "Where other people have accounts on this machine, use a server with authorization."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether this connection has no user, to a server on this machine."""
        users = _users(scene)
        if users is None:
            yield self.skipped(scene, "the server does not say who is connected")
        else:
            yield self.tally(scene, int(not users and not is_far(scene)))


class WideRoles(ServerCheck):
    """The user of this connection may do more than Backline needs."""

    id = "wide_roles"
    title = "Roles wider than needed"
    severity = Severity.MEDIUM
    why = "A mistake in Backline, or its address in wrong hands, reaches what is not Backline's."
    advice = "readWrite on its own database, and on its owners', is enough."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the roles that reach further."""
        said = _status(scene)
        if said is None or not said.get("authenticatedUsers"):
            yield self.skipped(scene, "no user is signed in, so there are no roles to look at")
            return
        names = sorted({str(one.get("role")) for one in said.get("authenticatedUserRoles", ())} & WIDE_ROLES)
        yield self.tally(scene, len(names), note=", ".join(names) or None)


class NoTls(ServerCheck):
    """The connection goes over a network in the clear."""

    id = "no_tls"
    title = "No encryption on the way"
    severity = Severity.HIGH
    why = "Whoever stands in between reads documents and passwords."
    advice = "Add tls=true to MONGODB_URI."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether a connection to another machine is not encrypted."""
        options: Any = _address(scene)["options"]
        is_on = bool(options.get("tls") or options.get("ssl"))
        yield self.tally(scene, int(not is_on and is_far(scene)))


class DefaultDatabase(ServerCheck):
    """The data stands in the database that the shell and every example use."""

    id = "default_database"
    title = "Default database"
    severity = Severity.LOW
    why = "Scripts and examples write to it, and it is the first to be looked into."
    advice = "Choose a name of its own: BACKLINE_MONGODB_DATABASE."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether it is one of those."""
        yield self.tally(scene, int(scene.db.name in DEFAULT_DATABASES))


class BoundToAll(ServerCheck):
    """The server listens on every address of its machine."""

    id = "bound_to_all"
    title = "Listens on every address"
    severity = Severity.MEDIUM
    why = "A hole in a firewall is enough to reach it."
    advice = "Set net.bindIp to the addresses that are needed."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield whether the server's options say so."""
        try:
            parsed = scene.db.client.admin.command("getCmdLineOpts").get("parsed", {})
        except OperationFailure as error:
            yield self.skipped(scene, f"the server does not tell its options to this user (code {error.code})")
            return
        net = parsed.get("net", {})
        if "bindIp" not in net and "bindIpAll" not in net:
            yield self.skipped(scene, "the server does not tell the addresses that it listens on")
            return
        addresses = set(str(net.get("bindIp", "")).split(","))
        yield self.tally(scene, int(bool(net.get("bindIpAll")) or bool(addresses & {"0.0.0.0", "::", "*"})))


def _status(scene: Scene) -> Json | None:
    try:
        found: Json = scene.db.client.admin.command("connectionStatus")["authInfo"]
    except (OperationFailure, KeyError):
        return None
    return found


def _users(scene: Scene) -> Sequence[Any] | None:
    said = _status(scene)
    return None if said is None else list(said.get("authenticatedUsers", ()))
