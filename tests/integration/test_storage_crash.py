"""`kill -9` in the middle of writes: nothing acknowledged is lost, and the file is good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.storage_crashes import TOGETHER, check, crash

from tiny_dancer.storage import CandidateRecord, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    tally = crash(tmp_path / "agent.db", rounds=25, seed=1)
    assert tally.rounds == 25
    assert tally.killed_while_running == 50
    assert tally.acknowledged > 50


@pytest.mark.parametrize("what", ["inserted", "routed", "feedback"])
def test_the_check_would_notice_a_loss(tmp_path: Path, what: str) -> None:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        storage.insert_candidates(CandidateRecord(f"g-{row}", group="g") for row in range(TOGETHER))
    acknowledged: dict[str, set[str]] = {
        each: set() for each in ("inserted", "routed", "feedback", "deleting", "deleted")
    }
    with pytest.raises(AssertionError):
        check(path, acknowledged | {what: {"lost"}})
