"""`tiny-dancer candidates import`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.candidates_tables import MemoriesTable
from tiny_dancer.cli.output import say
from tiny_dancer.extras import require

HELP = """Put memories into a database, where `candidates route` and a CandidateRouter find them.

A memory is stored as CONVERSATION/MEMORY_ID, with its conversation as a property; a / or % in a conversation is
%2F or %25 there. Those stored already are brought up to date, and keep what was counted of their use.

Example: tiny-dancer candidates import memories.parquet --database agent.db"""


def import_table(
    memories: MemoriesTable,
    database: Annotated[
        str, typer.Option(help="Database: a file, made where there is none, or postgresql://user@host/name.")
    ],
) -> None:
    require("pyarrow", "scipy", "apsw")
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password
    from tiny_dancer.training.candidates.data import read_memories
    from tiny_dancer.training.candidates.store import import_memories

    known = read_memories(memories)
    known.sets()  # refuses what cannot be ranked before anything is stored
    with open_storage(database) as storage:
        found = import_memories(known, storage)
    say(
        f"{without_password(database)}: {found.added:,} memories added, {found.changed:,} brought up to date, "
        f"{found.known:,} were there"
    )
