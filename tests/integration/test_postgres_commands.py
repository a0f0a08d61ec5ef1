"""Commands over a database on a server: what takes a path takes an address."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, run
from tests.contract.requests import request
from tests.postgres import emptied

from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import QueuedRequest, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "geheim"


@pytest.fixture
def address() -> str:
    """With a password, which this server does not ask for, and which no command may print."""
    return f"{emptied()}&password={SECRET}"


def test_keys_budgets_agents_and_the_queue(address: str, tmp_path: Path) -> None:
    for words in (
        ("keys", "create", "anna", "--database", address),
        ("budget", "set", "team=research", "12.50", "--period", "month", "--database", address),
        ("agents", "add", "writer", "--quality", "0.5", "--database", address),
    ):
        ended = run(*words, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert SECRET.encode() not in ended.stdout + ended.stderr
    now = time.time()
    with PostgresStorage(address) as storage:
        assert [each.name for each in storage.api_keys()] == ["anna"]
        assert [each.id for each in storage.budgets()] == ["team/research/1mo"]
        assert [each.agent.name for each in storage.agents()] == ["writer"]
        storage.enqueue(QueuedRequest(time=now, expires_at=now + 600, context='["?"]', id="q_1"))
        storage.record_requests([request("r", now, model="m", cost=1.0, baseline_cost=4.0, team="research")])
    assert [each["name"] for each in json.loads(done("keys", "list", "--database", address, "--json"))] == ["anna"]
    (standing,) = json.loads(done("budget", "status", "--database", address, "--json"))
    assert (standing["limit"], standing["left"]) == (12.5, 12.5)
    done("queue", "claim", "q_1", "--by", "eva", "--database", address)
    done("queue", "answer", "q_1", "yes", "--by", "eva", "--database", address)
    assert json.loads(done("savings", address, "--json"))["total"]["saved"] == pytest.approx(3.0)
    assert "writer" in done("agents", "list", "--database", address)
    with PostgresStorage(address) as storage:
        assert storage.queued_requests(ids=["q_1"], states=None)[0].answer == "yes"


def test_a_database_moves_from_a_file_to_a_server_and_back(address: str, tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.record_requests([request(f"{number}", 1e9 + number, cost=0.5) for number in range(5)])
    done("db", "backup", "agent.db", "copy.db", cwd=tmp_path)
    ended = run("db", "restore", address, "copy.db", cwd=tmp_path)
    assert ended.returncode == 0 and SECRET.encode() not in ended.stdout + ended.stderr, ended.stderr
    assert b"5 requests" in ended.stdout + ended.stderr
    assert json.loads(done("db", "stats", address, "--json"))["requests"] == 5
    done("db", "vacuum", address, "--max-rows", "3")
    done("db", "backup", address, "back.db", cwd=tmp_path)
    done("db", "restore", "again.db", "back.db", cwd=tmp_path)
    with SqliteStorage(tmp_path / "again.db") as storage:
        assert [each.id for each in storage.request_history()] == ["4", "3", "2"]
        (summary,) = storage.request_summary()
        assert (summary.requests, summary.removed, summary.spent) == (5, 2, 2.5)


def test_an_address_that_nobody_answers_at_is_said_in_one_line(tmp_path: Path) -> None:
    ended = run("db", "stats", f"postgresql://anna:{SECRET}@127.0.0.1:1/x?connect_timeout=2", cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count(b"\n") == 1
    assert b"cannot be reached" in ended.stderr and SECRET.encode() not in ended.stderr
