"""`tiny-dancer db`, as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.commands import done, execute, fails

from tiny_dancer.storage import CandidateRecord, Feedback, Outcome, RoutingRecord, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1.75e9


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        storage.insert_candidates(
            CandidateRecord(f"{row}", np.full(4, row + 1, np.float32), text="x" * 1000) for row in range(500)
        )
        for row in range(20):
            storage.record_routing(
                RoutingRecord(f"{row}", "request", "m", NOW, cost=0.5, use_lightweight=row < 5, latency_us=10.0)
            )
        storage.record_routing(RoutingRecord("now", "candidates", "m", level=2))
        storage.record_feedback(Feedback("1", 0.5, time=NOW))
        storage.record_outcome(Outcome("1", "m", 0.25, time=NOW))
    return path


def test_statistics_in_words_and_in_json(database: Path) -> None:
    said = done("db", "stats", database)
    for words in (
        "500 candidates",
        "21 decisions (1 candidates, 20 request)",
        "23.8%",
        "10 USD",
        "10.0 µs",
        "0.250",
    ):
        assert words in said
    found = json.loads(done("db", "stats", database, "--json"))
    assert found["routes"] == 21
    assert found["by_level"] == {"0": 20, "2": 1}
    assert found["success_rate"] == 0.5
    assert json.loads(done("db", "stats", database, "--days", 1, "--json"))["routes"] == 1


def test_backup_and_restore(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert "500 candidates, 21 decisions, 1 outcomes, 1 feedback" in done("db", "backup", database, copy)
    with SqliteStorage(database) as storage:
        storage.delete_candidates([str(row) for row in range(400)])
        assert "500 candidates" in done("db", "restore", database, copy)
        assert len(storage.get_candidates()) == 500
    database.write_bytes(b"\xa5" * 5000)
    assert "500 candidates" in done("db", "restore", database, copy)
    assert [each.name for each in tmp_path.iterdir() if "damaged" in each.name]
    assert "500 candidates" in done("db", "stats", database)


def test_vacuum_gives_space_back(database: Path) -> None:
    with SqliteStorage(database) as storage:
        storage.delete_candidates([str(row) for row in range(400)])
    large = database.stat().st_size
    said = done("db", "vacuum", database)
    assert "100 candidates, 21 decisions" in said
    assert database.stat().st_size < large
    said = done("db", "vacuum", database, "--max-age-days", 30)
    assert "removed 20 decisions, 1 outcomes, 1 feedback" in said
    assert "100 candidates, 1 decisions" in said
    assert "removed 1 decisions" in done("db", "vacuum", database, "--max-rows", 0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["stats", "missing.db"], "no such file"),
        (["stats", "notes.txt"], "not a SQLite database"),
        (["stats", "agent.db", "--days", "0"], "days"),
        (["stats", "agent.db", "--days", "nan"], "days"),
        (["backup", "missing.db", "copy.db"], "no such file"),
        (["backup", "agent.db", "agent.db"], "database itself"),
        (["backup", "agent.db", "notes.txt"], "not a backup"),
        (["backup", "agent.db", "missing/copy.db"], "folder"),
        (["restore", "agent.db", "missing.db"], "no such file"),
        (["restore", "agent.db", "notes.txt"], "not a SQLite database"),
        (["restore", "new.db", "notes.txt"], "not a SQLite database"),
        (["vacuum", "agent.db", "--max-rows", "-1"], "max_rows"),
        (["vacuum", "agent.db", "--max-age-days", "-1"], "max_age_s"),
    ],
)
def test_what_cannot_be_done_is_one_line(database: Path, tmp_path: Path, arguments: list[str], word: str) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 500)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert word in fails(2, "db", *arguments, cwd=tmp_path)
    after = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert after == before


def test_the_installed_command_answers(database: Path) -> None:
    ended = execute("db", "stats", database)
    assert ended.returncode == 0
    assert b"500 candidates" in ended.stdout
