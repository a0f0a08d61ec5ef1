"""A short form of benchmarks/load/bench_storage_faults.py, and that it would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.storage_faults import Notes, Tally, check, faults, rows

from tiny_dancer.storage import CandidateRecord, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_lost_torn_or_leaked(tmp_path: Path) -> None:
    tally = faults(tmp_path, 20, seed=5)
    assert not tally.wrong, tally
    assert min(tally.acknowledged, tally.searches, tally.backups, tally.restores, tally.kills) > 5, tally


@pytest.mark.parametrize(
    "note", ["inserted lost", "deleted group", "replaced group 3", "routed nowhere", "rated nowhere"]
)
def test_the_check_would_notice_a_loss(tmp_path: Path, note: str) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "notes").mkdir()
    with SqliteStorage(tmp_path / "live" / "agent.db") as storage:
        storage.insert_candidates(rows("group", 1, 0))
    notes = Notes(tmp_path / "notes" / "write_0")
    notes("inserted group")
    tally = Tally()
    check(tmp_path, tally)
    assert not tally.wrong
    notes(note)
    check(tmp_path, tally)
    assert tally.lost == 1


def test_the_check_would_notice_half_a_write_and_a_torn_row(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "notes").mkdir()
    with SqliteStorage(tmp_path / "live" / "agent.db") as storage:
        storage.insert_candidates(rows("group", 1, 0)[1:])
    tally = Tally()
    check(tmp_path, tally)
    assert tally.torn == 1
    with SqliteStorage(tmp_path / "live" / "agent.db") as storage:
        good = rows("group", 1, 2)
        storage.upsert_candidates(good)
        storage.upsert_candidates(
            [CandidateRecord(good[0].id, good[0].embedding, "1 v1", group="group", metadata=good[0].metadata)]
        )
    check(tmp_path, tally)
    assert tally.torn == 2
