"""Backup, restore and vacuum of the file backend."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.unit.storage.databases import FILLED, fill, nearest, spoil

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import CandidateRecord, MemoryStorage, SqliteStorage
from tiny_dancer.storage.sqlite.connection import connect
from tiny_dancer.storage.sqlite.storage import restore_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_backup_holds_everything_and_is_one_file(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with SqliteStorage(filled) as opened:
        assert opened.backup(copy) == FILLED
        expected = nearest(opened)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.db", "copy.db"]
    with SqliteStorage(copy, create=False) as opened:
        assert opened.verify() == FILLED
        assert nearest(opened) == expected


def test_a_backup_replaces_an_earlier_one_and_nothing_else(filled: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("x" * 200)
    with SqliteStorage(filled) as opened:
        opened.backup(tmp_path / "copy.db")
        opened.insert_candidate(CandidateRecord("one more"))
        assert opened.backup(tmp_path / "copy.db").candidates == 51
        for target, message in (
            (notes, "not a backup"),
            (filled, "database itself"),
            (tmp_path, "folder"),
            (tmp_path / "missing" / "copy.db", "folder"),
        ):
            with pytest.raises(StorageError, match=message):
                opened.backup(target)
    assert notes.read_text() == "x" * 200
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.db", "copy.db", "notes.txt"]


def test_restoring_brings_everything_back_for_all_that_have_it_open(filled: Path, tmp_path: Path) -> None:
    with SqliteStorage(filled) as opened, SqliteStorage(filled) as other:
        expected = nearest(other)
        opened.backup(tmp_path / "copy.db")
        opened.delete_candidates([f"{row:03}" for row in range(30)])
        opened.upsert_candidates([CandidateRecord("new", np.ones(16, np.float32))])
        opened.apply_retention(max_rows=0)
        assert nearest(other)[0] == "new"
        assert opened.restore(tmp_path / "copy.db") == FILLED
        assert nearest(other) == nearest(opened) == expected
        # Both go on writing.
        other.insert_candidate(CandidateRecord("after", np.ones(16, np.float32)))
        opened.delete_candidates(["001"])
        assert nearest(opened)[0] == nearest(other)[0] == "after"
        assert other.verify() == replace(FILLED, changes=52)


def test_a_restored_database_may_have_another_dimension(filled: Path, tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "wide.db") as wide:
        wide.insert_candidate(CandidateRecord("wide", np.ones(32, np.float32)))
        wide.backup(tmp_path / "copy.db")
    with SqliteStorage(filled) as opened, SqliteStorage(filled, mirror=False) as other:
        nearest(opened)
        nearest(other)
        opened.restore(tmp_path / "copy.db")
        for each in (opened, other):
            (found,) = each.query_candidates(np.ones(32), touch=False)
            assert found.candidate.id == "wide"
        other.insert_candidate(CandidateRecord("wide too", np.ones(32, np.float32)))
        assert len(opened.query_candidates(np.ones(32), touch=False)) == 2


def test_a_backup_that_is_no_good_changes_nothing(filled: Path, tmp_path: Path) -> None:
    good = tmp_path / "copy.db"
    with SqliteStorage(filled) as opened:
        opened.backup(good)
    content = good.read_bytes()
    bad: dict[str, bytes] = {
        "empty": b"",
        "text": b"no database " * 500,
        "cut": content[: len(content) // 2],
        "header": b"\xa5" * 100 + content[100:],
        "middle": content[:8192] + b"\xa5" * 8192 + content[16384:],
    }
    for name, spoilt in bad.items():
        (tmp_path / name).write_bytes(spoilt)
    with sqlite3.connect(tmp_path / "theirs") as theirs:
        theirs.execute("CREATE TABLE contacts (name TEXT)")
    theirs.close()
    newer = connect(good)
    newer.execute("INSERT INTO migration VALUES ('0999_later', 'x')")
    newer.pragma("journal_mode", "delete")
    newer.close()
    before = sorted(each.name for each in tmp_path.iterdir())
    with SqliteStorage(filled) as opened:
        expected = nearest(opened)
        for name in (*bad, "theirs", "copy.db", "missing"):
            for restore in (opened.restore, lambda source: restore_file(tmp_path / "fresh.db", source)):
                with pytest.raises(StorageError, match=name):
                    restore(tmp_path / name)
        assert opened.verify() == FILLED
        assert nearest(opened) == expected
    assert sorted(each.name for each in tmp_path.iterdir()) == before


def test_restoring_where_there_is_none_or_only_a_damaged_one(filled: Path, tmp_path: Path) -> None:
    copy, fresh = tmp_path / "copy.db", tmp_path / "fresh.db"
    with SqliteStorage(filled) as opened:
        opened.backup(copy)
    assert restore_file(fresh, copy) == FILLED
    spoil(filled, slice(0, 200))
    assert restore_file(filled, copy) == FILLED
    with SqliteStorage(filled) as opened:
        assert opened.verify() == FILLED
    kept = [each for each in tmp_path.iterdir() if each.name.endswith(".damaged")]
    assert len(kept) == 1
    assert kept[0].read_bytes()[:200] == b"\xa5" * 200


def test_vacuum_gives_space_back_and_keeps_searching_right(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with SqliteStorage(path) as opened, SqliteStorage(path, mirror=False) as other:
        fill(opened, 5000)
        # Whole chunks of sqlite-vec's (1,024 rows) are gone then, in the middle.
        opened.delete_candidates([f"{row:03}" for row in range(900, 4100)], purge=True)
        expected = nearest(opened)
        opened.vacuum()
        assert nearest(opened) == nearest(other) == expected
        assert opened.verify().candidates == other.verify().candidates == 1800
        generator = np.random.default_rng(1)
        opened.insert_candidates(
            CandidateRecord(f"later {row}", generator.standard_normal(16).astype(np.float32))
            for row in range(3000)
        )
        opened.vacuum()
        for _ in range(20):
            query = generator.standard_normal(16)
            ours, theirs = (each.query_candidates(query, 20, touch=False) for each in (opened, other))
            assert [(each.candidate.id, each.distance) for each in ours] == [
                (each.candidate.id, each.distance) for each in theirs
            ]
        large = path.stat().st_size
        opened.delete_candidates([each.id for each in opened.get_candidates()], purge=True)
        opened.vacuum()
    assert path.stat().st_size < large / 2


def test_memory_says_that_it_has_no_file(tmp_path: Path) -> None:
    with MemoryStorage() as opened:
        for call in (opened.backup, opened.restore):
            with pytest.raises(StorageError, match="SqliteStorage"):
                call(tmp_path / "copy.db")
