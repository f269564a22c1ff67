"""The commands by name; each module is imported when its command is called, so that the quick ones start quickly."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

MODULES = {
    "up": "api.cli.up",
    "extract": "api.cli.extract",
    "catalogue": "api.cli.catalogue",
    "submit": "api.cli.submit",
    "database": "api.cli.database",
    "jobs": "api.cli.jobs",
    "search": "api.cli.search",
    "similar": "api.cli.similar",
    "playlist": "api.cli.playlist",
    "recommendations": "api.cli.recommendations",
    "clusters": "api.cli.clusters",
    "indexes": "api.cli.indexes",
    "schedules": "api.cli.schedules",
    "spotify": "api.cli.spotify",
    "status": "api.cli.status",
    "doctor": "api.cli.doctor",
    "logs": "api.cli.logs",
    "kinds": "api.cli.kinds",
    "keys": "api.cli.keys",
    "audit": "api.cli.audit",
    "backup": "api.cli.backup",
    "restore": "api.cli.restore",
    "mcp": "api.cli.mcp",
}


class Commands(TyperGroup):
    """The root of the command line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order in which a newcomer needs them."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None where there is none of this name."""
        if cmd_name not in MODULES:
            return None
        command = typer.main.get_command(import_module(MODULES[cmd_name]).app)
        command.name = cmd_name
        return command
