"""The storage over tables that the extension has made, and the extension over what the storage writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.contract.candidates import NOW
from tests.contract.requests import request
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
