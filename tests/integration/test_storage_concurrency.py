"""Many threads and many processes on one file: no lock reaches a caller, no acknowledged write is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiny_dancer.storage import CandidateRecord, Feedback, RoutingRecord, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

EACH = 25
WORKER = f"""
import sys
import numpy as np
from tiny_dancer.storage import CandidateRecord, Feedback, RoutingRecord, SqliteStorage

path, name = sys.argv[1:]
for turn in range(5):  # opening and closing is part of it: the journal comes and goes
    with SqliteStorage(path) as storage:
        for row in range({EACH} // 5):
            id = f"{{name}}-{{turn}}-{{row}}"
            storage.insert_candidate(CandidateRecord(id, np.full(4, row + 1, np.float32), group=name))
            storage.record_routing(RoutingRecord(id, "request", "m"))
            storage.record_feedback(Feedback(id, 1.0, "shared"))
            mine = [each.candidate.id for each in storage.query_candidates(np.ones(4), 10_000)]
            assert id in mine, "a search does not see the insert acknowledged before it"
            storage.get_statistics()
        if turn == 2:
            storage.vacuum()
"""


def test_many_processes_read_and_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    # All of them make the database: that is a race too.
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, path, f"p{number}"], stderr=subprocess.PIPE, text=True)
        for number in range(6)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert errors == [""] * 6
    with SqliteStorage(path) as storage:
        counts = storage.verify()
        assert (counts.candidates, counts.routing, counts.feedback) == (6 * EACH, 6 * EACH, 6 * EACH)
        assert len({each.group for each in storage.get_candidates()}) == 6


def test_many_threads_share_one_object(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((400, 16)).astype(np.float32)
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_candidates(CandidateRecord(f"base {row}", vectors[row]) for row in range(100))
        start = threading.Barrier(8)

        def write(thread: int) -> None:
            start.wait()
            for turn in range(15):
                id = f"{thread}-{turn}"
                storage.insert_candidate(CandidateRecord(id, vectors[100 + 15 * thread + turn]))
                assert storage.get_candidates([id])
                storage.record_routing(RoutingRecord(id, "request", "m"))
                storage.record_feedback(Feedback(id, 1.0, "base 7"))
                if turn % 3 == 2:
                    assert storage.delete_candidates([f"{thread}-{turn - 1}"]) == 1

        def read(thread: int) -> None:
            start.wait()
            for turn in range(60):
                # Candidates that nobody deletes are found at every moment.
                row = (17 * turn + thread) % 100
                found = storage.query_candidates(vectors[row], 1)
                assert found[0].candidate.id == f"base {row}"
                assert storage.get_statistics().candidates >= 100

        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(write, thread) for thread in range(4)]
            done += [pool.submit(read, thread) for thread in range(4)]
            for each in done:
                each.result()
        storage.flush()
        records = {each.id: each for each in storage.get_candidates()}
        assert len(records) == 100 + 4 * 10
        assert records["base 7"].trial_count == 60
        assert sum(each.access_count for each in records.values()) == 4 * 60
        assert storage.get_statistics().routes == 60
        assert len(storage.query_candidates(vectors[0], 1000)) == 140


def test_writers_of_one_object_share_commits_and_keep_their_own_errors(tmp_path: Path) -> None:
    from tiny_dancer.errors import CandidateError

    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_candidate(CandidateRecord("taken"))
        start = threading.Barrier(8)

        def write(thread: int) -> bool:
            start.wait()
            try:
                storage.insert_candidates(
                    [
                        CandidateRecord(f"new {thread}"),
                        CandidateRecord("taken" if thread % 2 else f"also {thread}"),
                    ]
                )
            except CandidateError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(write, range(8))) == [True, False] * 4
        assert len(storage.get_candidates()) == 1 + 2 * 4


def test_a_search_sees_what_another_process_was_told_is_written(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from tiny_dancer.storage import CandidateRecord, SqliteStorage\n"
        "storage = SqliteStorage(sys.argv[1])\n"
        "for line in sys.stdin:\n"
        "    what, id = line.split()\n"
        "    if what == 'add': storage.upsert_candidates([CandidateRecord(id, np.ones(3, np.float32))])\n"
        "    else: storage.delete_candidates([id])\n"
        "    print('done', flush=True)\n"
    )
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        other = subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None
        assert other.stdout is not None
        present: set[str] = set()
        generator = np.random.default_rng(0)
        for _ in range(60):
            id = str(generator.integers(8))
            what = "remove" if id in present else "add"
            other.stdin.write(f"{what} {id}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"
            present ^= {id}
            found = {each.candidate.id for each in storage.query_candidates(np.ones(3), 20)}
            assert found == present
        other.stdin.close()
        assert other.wait() == 0


def test_backups_are_whole_while_others_write(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "agent.db") as storage:
        stop = threading.Event()

        def write() -> None:
            for turn in range(10_000):
                storage.insert_candidates(
                    CandidateRecord(f"{turn}-{row}", np.ones(4, np.float32), group=str(turn)) for row in range(3)
                )
                if stop.is_set():
                    return

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(5):
                copy = tmp_path / f"copy {number}.db"
                counts = storage.backup(copy)
                assert counts.candidates % 3 == 0
                with SqliteStorage(copy) as opened:
                    assert opened.verify() == counts
        finally:
            stop.set()
            writer.join()
        before = storage.verify().candidates
        assert storage.restore(tmp_path / "copy 0.db").candidates <= before


@pytest.mark.parametrize("newest_first", [True, False])
def test_what_is_removed_while_it_is_read_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_candidates(CandidateRecord(f"{number:02}", text="tea") for number in range(20))
        passing = storage._mirror.passing  # type: ignore[union-attr]

        def then_removed(*arguments: Any) -> list[CandidateRecord]:
            known = passing(*arguments)
            storage.delete_candidates([f"{number:02}" for number in (0, 1, 5, 6, 7, 8, 9, 10)])
            return known

        monkeypatch.setattr(storage._mirror, "passing", then_removed)
        found = storage.get_candidates(newest_first=newest_first, limit=6)
        assert [each.id for each in found] == ["02", "03", "04", "11", "12", "13"]
        monkeypatch.undo()
        assert len(storage.get_candidates(limit=50)) == 12
