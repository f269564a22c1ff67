"""`backline database`: what is done with a library as a whole."""

from __future__ import annotations

import typer

from api.cli.database_care import forget_repair, repair_database, undo_repair, validate_database
from api.cli.database_export import export_database
from api.cli.database_migrate import migrate_database

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export the library, and keep it in order.")
app.command("export")(export_database)
app.command("migrate")(migrate_database)
app.command("validate")(validate_database)
app.command("repair")(repair_database)
app.command("undo")(undo_repair)
app.command("forget")(forget_repair)
