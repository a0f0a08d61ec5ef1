"""One queue and many processes: one of them claims a request, and a kill loses none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.integration.storage_queues import CONTEXT, claim_all, put, put_until_killed

from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from pathlib import Path


def test_of_many_processes_one_claims_each_request(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with SqliteStorage(path, mirror=False) as storage:
        expected = [put(storage, place) for place in range(60)]
    won: Queue[list[str]] = CONTEXT.Queue()
    ready = CONTEXT.Barrier(3)
    processes = [CONTEXT.Process(target=claim_all, args=(path, f"p{name}", ready, won)) for name in range(3)]
    for process in processes:
        process.start()
    claims = [won.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert Counter(id for each in claims for id in each) == Counter(expected)
    with SqliteStorage(path, mirror=False) as storage:
        assert all(each.claimed_by for each in storage.queued_requests(limit=None))


def test_a_kill_loses_no_request_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    said: Queue[str] = CONTEXT.Queue()
    process = CONTEXT.Process(target=put_until_killed, args=(path, said))
    process.start()
    acknowledged = [said.get(timeout=60) for _ in range(20)]
    process.join(60)
    assert process.exitcode == -9
    with SqliteStorage(path, mirror=False) as storage:
        assert [each.id for each in storage.queued_requests(limit=None)] == acknowledged
