"""The storage over tables that the extension has made, and the extension over what the storage writes."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.contract.candidates import NOW
from tests.contract.requests import request
from tests.integration.doors import ROOT
from tests.integration.pg_cluster import database, extended, name
from tests.integration.test_postgres_storage import all_of, fill
from tests.postgres import emptied

from tiny_dancer.budgets import Budgets
from tiny_dancer.errors import BudgetExceededError
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import Agent, Budget, CandidateRecord

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_kept_is_the_same_in_tables_of_the_extension(tmp_path: Path) -> None:
    with PostgresStorage(database()) as theirs, PostgresStorage(emptied()) as ours:
        for storage in (theirs, ours):
            fill(storage)
        assert theirs.request_history() == ours.request_history()
        assert theirs.request_summary(by="model") == ours.request_summary(by="model")
        assert theirs.agents() == ours.agents() and theirs.budgets() == ours.budgets()
        counts = theirs.backup(tmp_path / "copy.db")
        ours.restore(tmp_path / "copy.db")
        assert all_of(ours) == all_of(theirs) and ours.verify() == counts == theirs.verify()


def test_who_owns_the_database_may_use_it_as_the_storage_does() -> None:
    """CREATE EXTENSION by a user that is no superuser: the tables are the superuser's, and granted."""
    server = extended()
    server.sql("CREATE ROLE storing LOGIN")
    server.sql("CREATE DATABASE stored OWNER storing TEMPLATE template0")
    server.sql("SET ROLE storing; CREATE EXTENSION tiny_dancer", database="stored")
    with PostgresStorage(server.url("stored", user="storing")) as storage:
        fill(storage)
        assert storage.verify().candidates == 2


def test_rows_move_into_the_extension_by_the_servers_own_tools() -> None:
    """The guide's commands, as it has them, by an owner of the database who is no superuser."""
    guide = (ROOT / "docs" / "guides" / "storage-postgresql.md").read_text(encoding="utf-8")
    (block,) = (each for each in guide.split("\n\n") if each.startswith("    pg_dump --data-only"))
    server = extended()
    server.sql("CREATE ROLE mover LOGIN")
    server.sql("CREATE DATABASE moved OWNER mover TEMPLATE template0")
    url = server.url("moved", user="mover")
    with PostgresStorage(url) as storage, Budgets(storage) as budgets:
        fill(storage)
        storage.insert_budget(Budget("team", "research", limit=1.0))
        budgets.refresh()
        with budgets.reserve(0.4, team="research") as hold:
            hold.settle(0.4)
    with PostgresStorage(url, read_only=True) as storage:
        before = all_of(storage)
    commands = block.replace("postgresql://…", shlex.quote(url)).replace(
        "rows.sql", str(server.folder / "rows.sql")
    )
    path = f"{server.bin}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", commands], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, done.stderr
    with PostgresStorage(url) as storage:
        assert all_of(storage) == before
        storage.insert_candidate(CandidateRecord("one more", text="of a number that nobody has yet"))
        storage.record_requests([request("one more", NOW, model="m", cost=0.5)])
    remaining = "SELECT tiny_dancer.budget_remaining(team := 'research')"
    assert [float(row[0]) for row in server.sql(remaining, database="moved")] == [0.6]
    assert server.sql("SELECT count(*) FROM before.candidate", database="moved") == [(len(before[0]),)]


def test_functions_and_storage_see_the_same_agents_and_budgets() -> None:
    url = database()
    server, of = extended(), name(url)
    with PostgresStorage(url) as storage, Budgets(storage) as budgets:
        storage.insert_agents([Agent("writer", capabilities=("write",), quality=0.9, cost_per_call=0.01)], at=NOW)
        listed = server.sql("SELECT * FROM tiny_dancer.ruvector_list_agents()", database=of)
        assert [row[0] for row in listed] == ["writer"]
        server.sql("DELETE FROM tiny_dancer.agent", database=of)
        assert storage.agents() == ()
        storage.insert_candidate(CandidateRecord("a", text="tea"))
        assert server.sql("SELECT text FROM tiny_dancer.candidate", database=of) == [("tea",)]
        storage.insert_budget(Budget("all", limit=1.0))
        budgets.refresh()
        with budgets.reserve(0.5) as hold:
            hold.settle(0.5)
        server.sql("SELECT tiny_dancer.reserve_budget(0.3)", database=of)
        with pytest.raises(BudgetExceededError):
            budgets.reserve(0.21)
        with pytest.raises(psycopg.DatabaseError, match="less left"):
            server.sql("SELECT tiny_dancer.reserve_budget(0.21)", database=of)
        storage.record_requests([request("r", NOW, model="m", cost=0.5)])
        assert server.sql("SELECT sum(cost) FROM tiny_dancer.request", database=of) == [(0.5,)]
