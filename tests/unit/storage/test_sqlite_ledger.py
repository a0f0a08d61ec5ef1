"""The gateway's tables in the file backend: old databases, several writers, copies."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.contract.requests import DAY, MIDNIGHT, api_key, request
from tests.unit.storage.databases import FILLED, fill

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import RowCounts, Spend, SqliteStorage
from tiny_dancer.storage.sqlite.connection import connect
from tiny_dancer.storage.sqlite.migrate import migrate, migrations
from tiny_dancer.types import RequestRecord

ROOT = Path(__file__).parents[3]


def test_the_table_has_the_fields_of_a_request_in_their_order(tmp_path: Path) -> None:
    SqliteStorage(tmp_path / "a.db").close()
    connection = connect(tmp_path / "a.db")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(request)")]
    assert columns == ["number", *RequestRecord.__struct_fields__]
    connection.close()


def test_a_database_from_before_the_gateway_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch()
    connection = connect(path)
    migrate(connection, path, migrations()[:1])
    connection.execute(
        "INSERT INTO routing (decision_id, time, kind, chosen, artifact_version, shown, use_lightweight, level, "
        "reason) VALUES ('d', 5.0, 'request', 'm', '', '[]', 0, 0, '')"
    )
    connection.close()
    with SqliteStorage(path, create=False) as opened:
        assert [each.decision_id for each in opened.routing_history()] == ["d"]
        assert opened.request_history() == ()
        opened.record_requests([request("a")])
        assert opened.verify() == RowCounts(0, 1, 0, 0, 1, 0)


def version_2(path: Path, count: int) -> None:
    """A database as versions up to the second migration left it, with requests whose every column differs."""
    path.touch()
    connection = connect(path)
    migrate(connection, path, migrations()[:2])
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(request)")]
    assert "artifact_version" not in columns
    texts = ("endpoint", "key", "asked", "model", "upstream", "router", "routed_by", "reason", "role", "session")
    for number in range(1, count + 1):
        row: dict[str, Any] = dict.fromkeys(columns, number)
        row |= {name: f"{name} {number}" for name in (*texts, "error", "id", "response_id", "decision_id")}
        row |= {"time": MIDNIGHT + number, "stream": 1, "scores": '{"a":0.5}', "cost": number / 4, "key": "k"}
        row |= {"query_hash": f"{number:x}", "query_text": None}
        connection.execute(
            f"INSERT INTO request ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
    records = b"".join(
        zlib.crc32(f"{name} {number}".encode()).to_bytes(4, "little")
        for number in range(1, count + 1)
        for name in ("id", "response_id", "decision_id")
    )
    connection.execute("INSERT INTO request_ids VALUES (1, ?)", (records,))
    connection.execute("INSERT INTO spend VALUES (?, 'k', 1.5, 30, ?)", (MIDNIGHT // DAY, count))
    connection.close()


def test_requests_from_before_variants_are_kept_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    version_2(path, 7)
    new = request("new", MIDNIGHT + DAY, artifact_version="1.2.3", variant="challenger")
    with SqliteStorage(path, create=False) as opened:
        assert [each.id for each in opened.request_history()] == [f"id {number}" for number in range(7, 0, -1)]
        assert {(each.artifact_version, each.variant) for each in opened.request_history()} == {("", "")}
        opened.record_requests([new])
        assert opened.request_history(limit=1) == (new,)
    with SqliteStorage(path, create=False) as again:
        (third,) = again.request_history(response_id="response_id 3")
        assert third == RequestRecord(
            id="id 3",
            time=MIDNIGHT + 3,
            endpoint="endpoint 3",
            key="k",
            asked="asked 3",
            status=3,
            model="model 3",
            upstream="upstream 3",
            response_id="response_id 3",
            decision_id="decision_id 3",
            router="router 3",
            routed_by="routed_by 3",
            reason="reason 3",
            level=3,
            confidence=3.0,
            scores={"a": 0.5},
            role="role 3",
            session="session 3",
            stream=True,
            attempts=3,
            fallbacks=3,
            input_tokens=3,
            output_tokens=3,
            cached_tokens=3,
            cost=0.75,
            baseline_cost=3.0,
            latency=3.0,
            ttft=3.0,
            error="error 3",
            query_hash="3",
            query_text=None,
        )
        assert again.spend(since=MIDNIGHT) == {"k": Spend(1.5, 30, 7), "": Spend(0.0, 0, 1)}
        assert again.verify().requests == 8


def test_budgets_from_before_models_were_told_apart_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch()
    connection = connect(path)
    migrate(connection, path, migrations()[:3])
    connection.execute(
        "INSERT INTO api_key VALUES ('k', 'ada', ?, 5.0, NULL, NULL, '[]', NULL, NULL, 2.0, NULL, 1)", ("a" * 64,)
    )
    connection.execute("INSERT INTO spend VALUES (?, 'k', 1.5, 30, 7)", (MIDNIGHT // DAY,))
    connection.close()
    with SqliteStorage(path, create=False) as opened:
        (key,) = opened.api_keys()
        assert (key.daily_budget, key.cheaper_when_spent, key.soft_budget) == (2.0, True, None)
        assert (key.max_budget, key.budget_duration, key.model_max_budget) == (None, None, ())
        opened.record_requests([request("a", key="k", model="m", cost=0.5)])
        spent = opened.spend(since=MIDNIGHT)["k"]
        assert spent == Spend(2.0, 30, 8)
        assert spent.models == {"": 1.5, "m": 0.5}


def test_requests_removed_before_sums_were_kept_are_said_to_be_unknown(tmp_path: Path) -> None:
    version_2(tmp_path / "old.db", 3)
    connection = connect(tmp_path / "old.db")
    connection.execute("DELETE FROM request WHERE number = 1")
    connection.close()
    with pytest.raises(StorageError, match="earlier version"):
        SqliteStorage(tmp_path / "old.db", read_only=True)
    with SqliteStorage(tmp_path / "old.db", create=False) as opened:
        (summary,) = opened.request_summary()
        assert (summary.requests, summary.removed, summary.unknown) == (2, 0, 1)
        assert summary.latency_percentiles is None
        by_model = opened.request_summary(by=("day", "model"), where={"key": "k"})
        assert [(each.group, each.requests, each.unknown) for each in by_model] == [
            (("2025-07-31", None), 0, 1),
            (("2025-07-31", "model 2"), 1, 0),
            (("2025-07-31", "model 3"), 1, 0),
        ]
        assert [each.unknown for each in opened.request_summary(where={"key": "other"})] == []
        assert opened.request_summary(since=MIDNIGHT + DAY) == ()
        # What is removed from now on keeps its sums.
        opened.apply_retention(max_rows=1)
        (summary,) = opened.request_summary()
        assert (summary.requests, summary.removed, summary.unknown) == (2, 1, 1)


def test_a_backup_from_before_variants_can_be_restored(tmp_path: Path) -> None:
    version_2(tmp_path / "old.db", 3)
    with SqliteStorage(tmp_path / "new.db") as opened:
        assert opened.restore(tmp_path / "old.db").requests == 3
        opened.record_requests([request("new", MIDNIGHT + DAY, variant="challenger")])
        assert [each.variant for each in opened.request_history()] == ["challenger", "", "", ""]


def test_copies_hold_requests_keys_and_spend(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as opened:
        fill(opened)
        opened.record_requests([request("a", key="k", cost=1.0, response_id="r")])
        opened.insert_api_key(api_key("k"))
        held = opened.backup(tmp_path / "copy.db")
        assert held == RowCounts(
            FILLED.candidates, FILLED.routing, FILLED.outcomes, FILLED.feedback, 1, 1, FILLED.changes
        )
        opened.record_requests([request("b", key="k", cost=1.0)])
        opened.revoke_api_key("k", MIDNIGHT)
        assert opened.restore(tmp_path / "copy.db") == held
        assert [each.id for each in opened.request_history(response_id="r")] == ["a"]
        assert opened.request_history(request_id="b") == ()
        assert opened.spend(since=MIDNIGHT) == {"k": Spend(1.0, 0, 1)}
        assert opened.api_keys() == (api_key("k"),)


WORKER = """
import sys
from tests.contract.requests import request
from tiny_dancer.storage import SqliteStorage

path, name = sys.argv[1:]
with SqliteStorage(path) as storage:
    for batch in range(40):
        storage.record_requests([
            request(f"{name}-{batch}-{row}", key="k", cost=0.5, response_id=f"r-{name}-{batch}-{row}")
            for row in range(25)
        ])
"""


def test_workers_share_one_file(tmp_path: Path) -> None:
    """Several processes and threads write at once: nothing is lost, and everything is found by its id."""
    path = tmp_path / "a.db"
    SqliteStorage(path).close()
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, path, name], cwd=ROOT) for name in "ab"]
    with SqliteStorage(path) as opened:

        def write(name: str) -> None:
            for batch in range(40):
                opened.record_requests(
                    [request(f"{name}-{batch}", key="k", cost=0.5, response_id=f"r-{name}-{batch}")]
                )

        threads = [Thread(target=write, args=(name,)) for name in "cd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
        assert opened.spend(since=MIDNIGHT) == {"k": Spend(0.5 * 2080, 0, 2080)}
        assert opened.verify().requests == 2080
        for name in ("a-0-0", "a-39-24", "b-20-7", "b-39-24", "c-0", "d-39"):
            assert [each.id for each in opened.request_history(response_id=f"r-{name}")] == [name]


def test_what_finds_requests_by_id_is_small_and_removed_with_them(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with SqliteStorage(path) as opened:
        for batch in range(100):
            opened.record_requests(
                [request(f"{batch}-{row}", MIDNIGHT + batch, response_id="r") for row in range(20)]
            )
        opened.record_requests([request("last", MIDNIGHT + DAY)])
        connection = connect(path)
        sizes = [size for (size,) in connection.execute("SELECT length(hashes) FROM request_ids ORDER BY first")]
        assert sum(sizes) == 8 * 2000 + 4
        assert len(sizes) <= 7
        opened.apply_retention(max_age_s=1, now=MIDNIGHT + DAY)
        assert connection.execute("SELECT count(*) FROM request_ids").get == 1
        assert [each.id for each in opened.request_history(request_id="last")] == ["last"]
        opened.apply_retention(max_rows=0)
        assert connection.execute("SELECT count(*) FROM request_ids").get == 0
        connection.close()
