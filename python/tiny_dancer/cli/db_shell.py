"""`tiny-dancer db shell`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.db_database import Database
from tiny_dancer.errors import StorageError
from tiny_dancer.extras import needed

HELP = """Open a SQLite database in a shell whose SQL has tiny_dancer_decide and the other functions.

Any database of SQLite's; a file that is not there is made. Statements given are run in place of what is typed.

Example: tiny-dancer db shell app.db "SELECT text, tiny_dancer_decide(text) FROM requests" """

Sql = Annotated[list[str] | None, typer.Argument(help="Statements to run; what is typed where none are given.")]
Artifact = Annotated[str, typer.Option(help="Router that decides: a path, or default.")]
Routes = Annotated[Path | None, typer.Option(help="Artifact of semantic routes, for tiny_dancer_semantic_route.")]


def shell(database: Database, sql: Sql = None, artifact: Artifact = "default", routes: Routes = None) -> None:
    with needed("sqlite"):
        import apsw
        import apsw.shell

        from tiny_dancer.sqlite import register
    try:
        connection = apsw.Connection(str(database))
    except apsw.CantOpenError as error:
        raise StorageError("database", f"{database}: {error}", "give a file in a folder that is there") from error
    with connection:
        register(connection, artifact, routes=routes)
        opened = apsw.shell.Shell(db=connection)
        for statement in sql or ():
            opened.process_complete_line(statement)  # type: ignore[no-untyped-call]
        if not sql:
            opened.cmdloop()  # type: ignore[no-untyped-call]
