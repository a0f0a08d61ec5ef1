"""What only the file backend has: the file itself, its migrations, its queue, copies of it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import apsw
import numpy as np
import pytest
from tests.unit.storage.databases import FILLED, NOW, fill, nearest, spoil

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, Filter, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite import candidates, history, migrate, storage
from tiny_dancer.storage.sqlite.catch_up import TableMirror
from tiny_dancer.storage.sqlite.connection import connect, refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer.storage.touches import Touch


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with SqliteStorage(tmp_path / "agent.db") as opened:
            fill(opened)
            opened.backup(tmp_path / "copy.db")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert modes.keys() >= {"agent.db", "agent.db-wal", "copy.db"}
    assert set(modes.values()) == {0o600}


def test_everything_is_there_when_opened_again(filled: Path) -> None:
    with SqliteStorage(filled, create=False) as opened:
        assert opened.verify() == FILLED
        before = nearest(opened)
    with SqliteStorage(filled, mirror=False) as opened:
        assert nearest(opened) == before
    assert [each.name for each in filled.parent.iterdir()] == ["agent.db"]


def test_a_commit_waits_for_the_disk(filled: Path) -> None:
    """No test can cut the power: this one reads what SQLite was told. 2 is FULL."""
    with SqliteStorage(filled) as opened:
        assert opened._writer.submit(lambda connection: connection.pragma("synchronous")) == 2
        assert opened._writer.submit(lambda connection: connection.pragma("journal_mode")) == "wal"


def test_what_is_queued_is_written_when_the_program_ends_without_closing(tmp_path: Path) -> None:
    code = (
        "import sys; from tiny_dancer.storage import RoutingRecord, SqliteStorage\n"
        "opened = SqliteStorage(sys.argv[1])\n"
        "for row in range(500): opened.record_routing(RoutingRecord(str(row), 'request', 'm'))\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.db"], check=True)
    with SqliteStorage(tmp_path / "a.db") as opened:
        assert opened.get_statistics().routes == 500


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "path"),
        (":memory:", "MemoryStorage"),
        ("nul\0", "path"),
        ("missing/agent.db", "folder first"),
        (".", "regular file"),
        ("/dev/null", "regular file"),
        ("/proc/agent.db", "/proc/agent.db"),
    ],
)
def test_paths_that_cannot_hold_a_database_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=message):
        SqliteStorage(path)
    assert not list(tmp_path.iterdir())


def test_a_database_may_be_asked_to_exist(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        SqliteStorage(tmp_path / "agent.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_queue_needs_room(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="queue_capacity"):
        SqliteStorage(tmp_path / "agent.db", queue_capacity=0)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my notes, " * 1000)
    with pytest.raises(StorageError, match="not a SQLite database"):
        SqliteStorage(path)
    assert path.read_bytes() == b"my notes, " * 1000


def test_another_programs_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE contacts (name TEXT)")
    theirs.close()
    before = path.read_bytes()
    for attempt in (SqliteStorage, lambda path: storage.restore_file(path, path)):
        with pytest.raises(StorageError, match="another program"):
            attempt(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["theirs.db"]


def test_a_damaged_file_is_named_with_the_remedy(filled: Path) -> None:
    spoil(filled, slice(4096, None))
    with pytest.raises(StorageError, match=r"agent\.db.*(restore|check)"), SqliteStorage(filled) as opened:
        opened.verify()
        opened.get_candidates()


def test_a_damaged_header_is_named_with_the_remedy(filled: Path) -> None:
    spoil(filled, slice(0, 100))
    with pytest.raises(StorageError, match=r"not a SQLite database.*restore"):
        SqliteStorage(filled)


def test_verify_finds_an_embedding_that_is_missing(filled: Path) -> None:
    connection = connect(filled)
    connection.execute("DELETE FROM candidate_vectors WHERE rowid = 7")
    connection.close()
    with SqliteStorage(filled) as opened, pytest.raises(StorageError, match="1 candidates and embeddings"):
        opened.verify()


def test_a_newer_database_is_refused(filled: Path) -> None:
    connection = connect(filled)
    connection.execute("INSERT INTO migration VALUES ('0999_from_the_future', 'abc')")
    connection.close()
    with pytest.raises(StorageError, match=r"newer version \(0999_from_the_future\).*upgrade"):
        SqliteStorage(filled)


def test_a_changed_migration_is_refused(filled: Path) -> None:
    connection = connect(filled)
    connection.execute("UPDATE migration SET checksum = 'other'")
    connection.close()
    with pytest.raises(StorageError, match="0001_first"):
        SqliteStorage(filled)


def test_migrations_are_numbered_and_recorded_with_their_checksums(filled: Path) -> None:
    known = migrate.migrations()
    assert [each.name[:4] for each in known] == [f"{number:04}" for number in range(1, len(known) + 1)]
    connection = connect(filled)
    recorded = dict(connection.execute("SELECT name, checksum FROM migration"))
    assert recorded == {each.name: each.checksum for each in known}
    assert all(len(each) == 64 for each in recorded.values())
    connection.close()


def test_missing_migrations_are_applied_all_or_none(filled: Path) -> None:
    good = migrate.Migration("0997_good", "CREATE TABLE later (x) STRICT;".replace("(x)", "(x TEXT)"), "1")
    bad = migrate.Migration("0998_bad", "CREATE TABLE latest (x TEXT); SELECT nonsense;", "2")
    connection = connect(filled)
    known = migrate.migrations()
    with pytest.raises(apsw.SQLError):
        migrate.migrate(connection, filled, (*known, good, bad))
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'late%'").get == 0
    migrate.migrate(connection, filled, (*known, good))
    migrate.migrate(connection, filled, (*known, good))
    assert connection.execute("SELECT count(*) FROM migration").get == len(known) + 1
    connection.close()


def limit_pages(opened: SqliteStorage, more: int) -> None:
    """Lets the file grow by so many pages and no further, as a full disk would."""

    def limit(connection: apsw.Connection) -> None:
        count = connection.pragma("page_count")
        connection.pragma("max_page_count", count + more)

    opened._writer.submit(limit, alone=True)


def test_a_full_disk_is_said_and_keeps_what_was_there(filled: Path) -> None:
    with SqliteStorage(filled) as opened:
        limit_pages(opened, 5)
        big = [CandidateRecord(f"big {row}", text="x" * 10_000) for row in range(100)]
        with pytest.raises(StorageError, match="no space left"):
            opened.insert_candidates(big)
        assert opened.verify() == FILLED
        for row in range(100):
            opened.record_routing(RoutingRecord(f"late {row}", "request", "m", query_text="x" * 10_000))
        with pytest.raises(StorageError, match="no space left"):
            opened.flush()
        opened.flush()
        dropped = opened.get_statistics().dropped
        assert dropped > 0
        assert opened.get_statistics().routes == 10 + 100 - dropped
        limit_pages(opened, 10_000)
        opened.insert_candidates(big)
        assert opened.verify().candidates == 150


def test_tables_that_another_process_makes_meanwhile_are_ours(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    path.touch()
    connection = apsw.Connection(str(path))

    class Meanwhile:
        """A connection after whose first look the database is made."""

        def __init__(self) -> None:
            self.looked = False

        def _look(self, found: Any) -> Any:
            if not self.looked:
                self.looked = True
                SqliteStorage(path, mirror=False).close()
            return found

        def pragma(self, name: str) -> Any:
            return self._look(connection.pragma(name))

        def execute(self, sql: str) -> Any:
            return SimpleNamespace(get=self._look(connection.execute(sql).get))

    refuse_foreign(cast("apsw.Connection", Meanwhile()), path)
    connection.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_was_removed(filled: Path, tmp_path: Path, replaced: bool) -> None:
    with SqliteStorage(filled, mirror=False) as opened:
        aside = filled.rename(tmp_path / "aside.db")
        if replaced:
            filled.write_bytes(b"")
        with pytest.raises(StorageError, match="removed, or another file"):
            opened.record_feedback(Feedback("decision 1", 1.0, "000", NOW))
        aside.replace(filled)
        opened.record_feedback(Feedback("decision 1", 1.0, "000", NOW))
        assert len(opened.feedback_history(decision_ids=["decision 1"])) == 1


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db", queue_capacity=5) as opened:
        blocker = connect(tmp_path / "a.db")
        blocker.execute("BEGIN IMMEDIATE")
        opened.record_routing(RoutingRecord("first", "request", "m"))
        # The writer takes the first and waits for the lock; what follows stays in the queue.
        while opened._writer._queue:
            pass
        taken = [opened.record_routing(RoutingRecord(f"{row}", "request", "m")) for row in range(8)]
        blocker.execute("ROLLBACK")
        blocker.close()
        opened.flush()
        assert taken == [True] * 5 + [False] * 3
        found = opened.get_statistics()
        assert (found.routes, found.dropped) == (6, 3)


def test_a_fork_is_told_to_open_again(filled: Path) -> None:
    with SqliteStorage(filled) as opened:
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (opened.get_candidates, lambda: opened.record_routing(RoutingRecord("a", "request", "m"))):
                try:
                    call()
                except StorageError as error:
                    refused += "fork" in str(error)
            os._exit(5 + refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert opened.verify() == FILLED


def test_what_is_missing_is_named_with_what_to_install() -> None:
    code = (
        "import sys; sys.modules['apsw'] = None\n"
        "from tiny_dancer.errors import MissingExtraError\n"
        "from tiny_dancer import storage\n"
        "storage.MemoryStorage()\n"
        "try: storage.SqliteStorage\n"
        "except MissingExtraError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'tiny-dancer[sqlite]'" in found.stdout


def test_deletions_are_forgotten_and_a_mirror_that_slept_is_loaded_anew(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "REMEMBERED_DELETIONS", 3)
    with SqliteStorage(filled) as sleeper, SqliteStorage(filled) as writer:
        sleeper.query_candidates(np.ones(16), touch=False)
        for row in range(20):
            writer.delete_candidates([f"{row:03}"])
        connection = connect(filled)
        assert connection.execute("SELECT count(*) FROM candidate_deletion").get <= 4
        connection.close()
        left = {each.candidate.id for each in sleeper.query_candidates(np.ones(16), 100, touch=False)}
        assert left == {f"{row:03}" for row in range(20, 50)}


def test_a_mirror_follows_without_reading_everything_again(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    original: Callable[[Any], CandidateRecord] = candidates.candidate

    def counting(row: Any) -> CandidateRecord:
        record = original(row)
        decoded.append(record.id)
        return record

    monkeypatch.setattr(candidates, "candidate", counting)
    with SqliteStorage(filled) as opened, SqliteStorage(filled) as other:
        opened.query_candidates(np.ones(16), touch=False)
        assert len(decoded) == 50
        other.record_feedback(Feedback("d", 1.0, "005"))
        other.upsert_candidates([CandidateRecord("007", -np.ones(16, np.float32))])
        other.record_routing(RoutingRecord("d", "request", "m"), wait=True)
        found = opened.query_candidates(np.ones(16), 50, touch=False)
        # The one that was replaced is read once more, for its history.
        assert sorted(decoded[50:]) == ["005", "007", "007"]
        assert found[-1].candidate.id == "007"
        opened.query_candidates(np.ones(16), touch=False)
        assert len(decoded) == 53


def test_more_neighbours_than_the_index_can_give(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db", mirror=False) as opened:
        opened.insert_candidates(
            CandidateRecord(f"{row:04}", np.array([1, row], np.float32), created_at=NOW) for row in range(4500)
        )
        found = opened.query_candidates(np.array([1.0, 0.0]), 4400, touch=False)
        assert [each.candidate.id for each in found] == [f"{row:04}" for row in range(4400)]
        found = opened.query_candidates(
            np.array([1.0, 0.0]), 4400, filter=Filter(ids=["0007", "0003"]), touch=False
        )
        assert [each.candidate.id for each in found] == ["0003", "0007"]


def test_accesses_wait_for_others_and_are_then_written_without_being_asked(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Touch]] = []
    done = threading.Event()
    original = candidates.touch_candidates

    def watching(connection: apsw.Connection, touches: dict[str, Touch]) -> None:
        original(connection, touches)
        written.append(touches)
        done.set()

    monkeypatch.setattr(candidates, "touch_candidates", watching)
    with SqliteStorage(filled) as opened:
        for _ in range(50):
            opened.query_candidates(np.ones(16), 2)
        assert done.wait(60)
    assert sum(each.count for touches in written for each in touches.values()) == 100
    # Of fifty searches in a row few commits: on a machine that stops for seconds, more than one.
    assert len(written) < 10


@pytest.mark.parametrize("table", ["routing", "outcome", "feedback", "request"])
def test_retention_reads_an_index_and_sorts_nothing(filled: Path, table: str) -> None:
    """What is removed is found by the index over times: in proportion to what is removed, whatever stays."""
    connection = connect(filled)
    seen: list[str] = []

    def watching(cursor: apsw.Cursor, statement: str, bindings: Any) -> bool:
        seen.append(statement)
        return True

    connection.exec_trace = watching
    history.oldest_kept(connection, table, None, 5)
    history.remove_history(connection, table, (NOW, 3), 0.0)
    connection.exec_trace = None
    for statement in seen:
        plan = [
            row[3]
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1, 2, 3)[: statement.count("?")])
        ]
        by_time = f"USING COVERING INDEX {table}_time"
        assert any(by_time in line for line in plan), plan
        # Requests of one time are put in the order they were stored in; those of one step are summed up by group.
        allowed = {f"USE TEMP B-TREE FOR {what}" for what in ("LAST TERM OF ORDER BY", "GROUP BY")}
        sorts = {line for line in plan if "TEMP B-TREE" in line}
        assert sorts <= (allowed if table == "request" else set()), plan
        if statement.startswith("DELETE"):
            assert any(f"{by_time} (time<?)" in line for line in plan), plan
            assert any(f"SEARCH {table} USING INTEGER PRIMARY KEY" in line for line in plan), plan
    connection.close()
    assert len(seen) == (3 if table == "request" else 2)


def test_what_changed_is_found_by_an_index(filled: Path) -> None:
    """A mirror takes over a write in proportion to what was written, whatever else is stored."""
    connection = connect(filled)
    seen: list[tuple[str, Any]] = []

    def watching(cursor: apsw.Cursor, statement: str, bindings: Any) -> bool:
        seen.append((statement, bindings))
        return True

    connection.exec_trace = watching
    mirror = TableMirror()
    mirror.catch_up(connection)
    mirror._seen = replace(mirror._seen, changes=mirror._seen.changes - 1)
    seen.clear()
    mirror.catch_up(connection)
    connection.exec_trace = None
    asked = [(statement, bindings) for statement, bindings in seen if "change > ?" in statement]
    assert len(asked) == 3
    for statement, bindings in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]
        assert any(line.startswith("SEARCH candidate") and "(change>?)" in line for line in plan), plan
        assert not any(line.startswith("SCAN candidate") for line in plan), plan
    connection.close()


def test_others_write_while_retention_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is a transaction of its own, and what comes meanwhile stays."""
    monkeypatch.setattr(history, "REMOVED_AT_ONCE", 10)
    monkeypatch.setattr(storage, "_RETENTION_SECONDS", 0.0)
    with SqliteStorage(tmp_path / "a.db", mirror=False) as opened:
        for row in range(500):
            opened.record_routing(RoutingRecord(f"old {row}", "request", "m", NOW + row))
        opened.flush()
        left: list[int] = []
        original = history.remove_history

        def watching(connection: apsw.Connection, table: str, *rest: Any) -> tuple[int, bool]:
            if table == "routing":
                left.append(connection.execute("SELECT count(*) FROM routing").get)
                opened.record_routing(RoutingRecord(f"new {len(left)}", "request", "m", NOW + 1000 + len(left)))
            return original(connection, table, *rest)

        monkeypatch.setattr(history, "remove_history", watching)
        assert opened.apply_retention(max_rows=100).routing == 400
        opened.flush()
        assert left[0] == 500
        # Ten go at each step, and those that came during the step before are there.
        assert left == [500 - 9 * step for step in range(41)]
        found = [each.decision_id for each in opened.routing_history()]
        assert sorted(found) == sorted(
            [f"old {row}" for row in range(400, 500)] + [f"new {row}" for row in range(1, 42)]
        )
