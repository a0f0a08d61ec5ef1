"""Storage over a real PostgreSQL server: what the contract cannot see, for it has one object over one database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from tests.contract.candidates import NOW, record, values
from tests.contract.requests import api_key, request
from tests.postgres import emptied, server
from tests.postgres_pooler import Pooler

from tiny_dancer import CandidateRouter, CandidateRouterConfig
from tiny_dancer.budgets import Budgets
from tiny_dancer.errors import BudgetExceededError, QueueError, StorageError
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import (
    Agent,
    AgentOutcome,
    Budget,
    CandidateRecord,
    Feedback,
    Outcome,
    QueuedRequest,
    RoutingRecord,
    SqliteStorage,
    open_storage,
)
from tiny_dancer.storage.agents import observed
from tiny_dancer.storage.budgets import Draw, Entry
from tiny_dancer.storage.postgres import connection as connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tiny_dancer.storage import Storage

UNITS = 10**12


@pytest.fixture
def address() -> str:
    return emptied()


@pytest.fixture
def storage(address: str) -> Iterator[PostgresStorage]:
    with PostgresStorage(address) as opened:
        yield opened


def program(address: str, text: str) -> subprocess.Popen[str]:
    """Another process with ``storage`` open; it says ``ready`` first."""
    head = (
        "from tiny_dancer.postgres import PostgresStorage\nfrom tests.contract.requests import request\n"
        f"storage = PostgresStorage({address!r})\nprint('ready', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(text)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def all_of(storage: Storage) -> list[Any]:
    """Everything that is stored, to be compared."""
    return [
        [values(each) for each in storage.get_candidates()],
        [(each.candidate_id, each.time, each.action, each.by) for each in storage.candidate_history()],
        storage.routing_history(),
        storage.feedback_history(),
        storage.outcome_history(),
        storage.request_history(),
        storage.spend(since=0),
        storage.request_summary(by=("day", "model")),
        storage.api_keys(),
        storage.queued_requests(states=None, limit=None, now=NOW),
        storage.agents(),
        storage.budgets(),
        storage.budget_entries(),
    ]


def fill(storage: Storage) -> None:
    """Something of everything, some of it removed again."""
    odd = {"a": 2**70, "b": [1.5, None, {"c": -0.0}], "é": "'\\\""}
    embedding = np.array([0.1, -2.5e-3, 3.0], np.float32)
    storage.insert_candidates(
        [
            CandidateRecord(
                "one", embedding, "text", metadata=odd, namespace=("a,b", '{"'), ttl_s=1e9, position=7
            ),
            CandidateRecord("two", text=None, group="g", confidence=0.25, success_count=1.5, trial_count=2),
            CandidateRecord("gone", embedding * 2),
        ],
        by="anna",
    )
    storage.delete_candidates(["gone"], by="ben")
    storage.record_routing(RoutingRecord("d1", "request", "m", NOW, cost=0.1, query_text="Zoë"), wait=True)
    storage.record_feedback(Feedback("d1", 0.5, time=NOW))
    storage.record_outcome(Outcome("d1", "m", 0.75, 0.1, 2.0, NOW))
    scores = {"m": 0.3, "other": 1e-300}
    storage.record_requests(
        [
            request("old", NOW - 9e6, model="m", cost=1.1),
            request("r1", NOW, model="m", tags=("x", "y,z"), scores=scores, removed={"n": "max_cost"}, cost=0.1),
            request("r2", NOW + 1, model="m", cost=0.2, response_id="resp", agent="writer", agents_failed=("b",)),
        ]
    )
    storage.insert_api_key(api_key("k", tags=("a", "b"), models=("m",)))
    storage.enqueue(QueuedRequest(time=NOW, expires_at=NOW + 60, context="[]", id="q1"))
    storage.insert_agents([Agent("writer", quality=0.5)], at=NOW)
    storage.record_agent_outcome(AgentOutcome("writer", NOW, success=True, quality=0.75), half_life_s=None)
    storage.insert_budget(Budget("team", "a", limit=5, period="month", created_at=NOW))
    storage.tell_budgets([Entry("team/a/1mo", 5, 3, 12 * UNITS, 11)])
    storage.apply_retention(max_age_s=1e6, now=NOW)


def test_a_backup_is_restored_by_either_database(storage: PostgresStorage, tmp_path: Path) -> None:
    fill(storage)
    expected = all_of(storage)
    counts = storage.backup(tmp_path / "from_postgres.db")
    with SqliteStorage(tmp_path / "lite.db") as lite:
        assert lite.restore(tmp_path / "from_postgres.db") == counts
        assert all_of(lite) == expected
        assert lite.request_history(response_id="resp") == storage.request_history(response_id="resp") != ()
        assert lite.query_candidates([0.1, 0, 3.0], touch=False)[0].candidate.id == "one"
        lite.insert_candidate(CandidateRecord("three", [1.0, 2.0, 3.0]))
        expected = all_of(lite)
        lite.backup(tmp_path / "from_sqlite.db")
    epoch = storage.budget_table()[1]
    assert storage.query_candidates("text", touch=False)
    assert storage.restore(tmp_path / "from_sqlite.db").candidates == 3
    assert all_of(storage) == expected
    assert storage.budget_table()[1] != epoch
    assert {each.candidate.id for each in storage.query_candidates([1.0, 2.0, 3.0])} == {"one", "three"}
    # What is written afterwards goes on from there.
    storage.apply_retention(max_rows=0)
    assert [each.requests for each in storage.request_summary()] == [3]
    assert storage.verify().candidates == 3


def test_a_bad_backup_changes_nothing(storage: PostgresStorage, tmp_path: Path) -> None:
    fill(storage)
    expected = all_of(storage)
    storage.backup(tmp_path / "copy.db")
    content = bytearray((tmp_path / "copy.db").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = os.urandom(4096)
    (tmp_path / "bad.db").write_bytes(content)
    for name, says in (("bad.db", "damaged"), ("none.db", "no such file")):
        with pytest.raises(StorageError, match=says):
            storage.restore(tmp_path / name)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="not a backup"):
        storage.backup(tmp_path / "notes.txt")
    assert all_of(storage) == expected and (tmp_path / "notes.txt").read_text() == "mine"


def test_processes_spend_one_budget_exactly(storage: PostgresStorage, address: str) -> None:
    """Three processes reserve and settle until nothing is left; one is killed on its way."""
    storage.insert_budget(Budget("all", limit=3.0))
    spending = """
        from tiny_dancer.budgets import Budgets
        from tiny_dancer.errors import BudgetExceededError
        with Budgets(storage) as budgets:
            while True:
                try:
                    hold = budgets.reserve(0.01)
                except BudgetExceededError:
                    break
                hold.settle(0.007)
                print("spent", flush=True)
        print("end", flush=True)
    """
    processes = [program(address, spending) for _ in range(3)]
    for _ in range(20):
        assert processes[0].stdout.readline() == "spent\n"
    processes[0].kill()
    lines = [process.communicate()[0].splitlines() for process in processes]
    assert all(each[-1] == "end" for each in lines[1:])
    settled = [20 + lines[0].count("spent"), *(each.count("spent") for each in lines[1:])]
    rows = storage.budget_entries("all/ever")
    drawn, spent = sum(each.drawn for each in rows), sum(each.spent for each in rows)
    assert drawn <= 3 * UNITS, "never more than the limit, whoever draws"
    assert sum(settled) * 7 * UNITS // 1000 <= drawn, "nothing was spent that was not drawn"
    # What those say who ended in order is exact; what the killed one had drawn counts as spent.
    exact = {count * 7 * UNITS // 1000 for count in settled[1:]}
    assert exact <= {each.spent for each in rows}
    assert spent <= drawn and drawn > 2.8 * UNITS, "and only as much is lost as one had drawn ahead"
    with Budgets(storage) as budgets:
        (standing,) = budgets.standings()
        assert standing.left == pytest.approx(3 - drawn / UNITS)


def test_budgets_of_two_objects_count_together(storage: PostgresStorage, address: str) -> None:
    storage.insert_budget(Budget("user", "ada", limit=1.0, period="day"))
    with PostgresStorage(address) as other, Budgets(storage) as one, Budgets(other) as two:
        one.reserve(0.6, user="ada").settle(0.6)
        with pytest.raises(BudgetExceededError):
            two.reserve(0.5, user="ada")
        two.reserve(0.3, user="ada").settle(0.25)
    (standing,) = Budgets(storage).standings()
    assert standing.spent == pytest.approx(0.85) and standing.left == pytest.approx(0.15)


def test_what_was_acknowledged_outlives_a_killed_writer(storage: PostgresStorage, address: str) -> None:
    writing = """
        number = 0
        while True:
            number += 1
            storage.record_requests([request(f"{number}/{row}", 1e9 + number) for row in range(20)])
            print(number, flush=True)
    """
    process = program(address, writing)
    for _ in range(12):
        process.stdout.readline()
    process.kill()
    last = int((["12"] + [line for line in process.communicate()[0].splitlines() if line.isdigit()])[-1])
    stored = [each.id for each in storage.request_history()]
    numbers = [int(each.partition("/")[0]) for each in stored]
    assert set(range(1, last + 1)) <= set(numbers), "nothing acknowledged is lost"
    assert all(numbers.count(number) == 20 for number in set(numbers)), "and no batch is there in half"
    assert sum(each.requests for each in storage.spend(since=0).values()) == len(stored)


def test_a_server_that_restarts_is_found_again(storage: PostgresStorage) -> None:
    fill(storage)
    before = all_of(storage)
    for how in (signal.SIGINT, signal.SIGQUIT):
        server().restart(how)
        assert all_of(storage) == before
    storage.record_requests([request("after", NOW + 5)])
    server().sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tiny-dancer'")
    # Also who must not write twice notices at BEGIN, before anything is written.
    storage.record_agent_outcome(AgentOutcome("writer", NOW, success=False), half_life_s=None)
    assert storage.request_history(limit=1)[0].id == "after"


def test_a_server_that_is_away_is_a_typed_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_S", 0.5)
    with PostgresStorage(address) as opened:
        opened.record_routing(RoutingRecord("before", "request", "m", NOW))
        opened.flush()
        server().stop()
        try:
            with pytest.raises(StorageError, match=r"cannot be reached .*; start the server"):
                opened.budgets()
            opened.record_routing(RoutingRecord("lost", "request", "m", NOW))
            with pytest.raises(StorageError, match="1 routing records and accesses of 0 candidates lost"):
                opened.flush()
            with pytest.raises(StorageError, match="cannot be reached"):
                PostgresStorage(address)
        finally:
            server().start()
        assert opened.budgets() == ()
        assert opened.get_statistics().dropped == 1
        assert [each.decision_id for each in opened.routing_history()] == ["before"]


def test_a_connection_lost_at_the_commit_is_said_unless_it_may_be_done_again(storage: PostgresStorage) -> None:
    """A trigger ends the connection while the server commits, which then has not happened."""
    database = storage._database
    once = """
        CREATE SEQUENCE public.ended;
        CREATE FUNCTION public.end_connection() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('public.ended') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER ended AFTER INSERT ON tiny_dancer.TABLE DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION public.end_connection();
    """
    undone = "DROP FUNCTION public.end_connection CASCADE; DROP SEQUENCE public.ended"
    for table, write in (
        ("outcome", lambda: storage.record_outcome(Outcome("d", "m", 0.5, time=NOW))),
        ("request", lambda: storage.record_requests([request("r", NOW)])),
    ):
        made = once.replace("TABLE", table)
        database.outside(lambda connection, made=made: connection.execute(made))  # type: ignore[misc]
        try:
            if table == "outcome":
                with pytest.raises(StorageError, match="it may be kept, or not; look, and write again"):
                    write()
            else:
                write()
        finally:
            database.outside(lambda connection: connection.execute(undone))
    assert storage.outcome_history() == ()
    assert [each.id for each in storage.request_history()] == ["r"]
    assert storage.spend(since=0)[""].requests == 1


def test_a_primary_that_became_a_standby_is_left_for_the_new_one(address: str) -> None:
    """It keeps its connections and refuses what they write, for ever where nobody lets go of them."""
    server().sql("ALTER DATABASE kept SET default_transaction_read_only = on")
    try:
        with PostgresStorage(address) as opened:
            with pytest.raises(StorageError, match=r"read-only .*; connect to the primary server"):
                opened.record_outcome(Outcome("d", "m", 0.5, time=NOW))
            assert opened.outcome_history() == ()  # on a connection that may only read
            server().sql("ALTER DATABASE kept RESET default_transaction_read_only")
            opened.record_outcome(Outcome("d", "m", 0.5, time=NOW))
            opened.insert_candidate(record("a", 1, 0))
            assert len(opened.outcome_history()) == 1
    finally:
        server().sql("ALTER DATABASE kept RESET default_transaction_read_only")


def test_what_takes_too_long_for_the_server_is_said(address: str) -> None:
    slow = f"{address}&options=-c%20statement_timeout%3D300%20-c%20lock_timeout%3D100"
    with PostgresStorage(slow) as opened, psycopg.connect(address) as sql:
        sql.execute("LOCK TABLE tiny_dancer.outcome")
        with pytest.raises(StorageError, match=r"locked for lock_timeout .*; end the transaction"):
            opened.record_outcome(Outcome("d", "m", 0.5, time=NOW))
        sql.rollback()
        opened.record_outcome(Outcome("d", "m", 0.5, time=NOW))
        with pytest.raises(StorageError, match=r"cancelled .*; raise statement_timeout"):
            opened._database.read(lambda connection: connection.execute("SELECT pg_sleep(9)"))
        assert len(opened.outcome_history()) == 1


def test_many_write_the_same_at_once_and_nothing_is_lost(storage: PostgresStorage, address: str) -> None:
    """Requests of agents in any order, outcomes, feedback about one decision, candidates: two objects, eight
    threads."""
    names = [f"agent {number}" for number in range(4)]
    storage.insert_agents([Agent(name) for name in names], at=NOW)
    storage.insert_candidate(CandidateRecord("c", text="tea"))
    with PostgresStorage(address) as other, ThreadPoolExecutor(8) as pool:
        both = (storage, other)

        def work(number: int) -> None:
            mine = both[number % 2]
            order = names if number % 3 else names[::-1]
            mine.record_requests(
                [request(f"{number}/{name}", NOW + number, model="m", agent=name, cost=0.5) for name in order]
            )
            mine.record_agent_outcome(AgentOutcome(order[0], NOW, success=True), half_life_s=None)
            mine.record_feedback(Feedback("d", 1.0, "c", NOW))
            mine.record_feedback(Feedback(f"d{number}", 1.0, "c", NOW))
            mine.upsert_candidates([CandidateRecord(f"c{number}", text="tea")])
            mine.query_candidates("tea", k=2)

        list(pool.map(work, range(24)))
        for each in both:
            each.flush()
            assert len(each.query_candidates("tea", k=50, touch=False)) == 25
    assert sum(each.requests for each in storage.spend(since=0).values()) == 96
    assert storage.spend(since=0)[""].cost == 48.0
    counted = sum(observed(each.state)["outcomes"] for each in storage.agents())
    assert counted == 24 + 96
    assert storage.get_candidates(["c"])[0].trial_count == 25


def test_of_many_who_claim_one_request_one_gets_it(storage: PostgresStorage, address: str) -> None:
    for number in range(6):
        storage.enqueue(QueuedRequest(time=NOW, expires_at=NOW + 60, context="[]", id=f"q{number}"))
    with PostgresStorage(address) as other, ThreadPoolExecutor(6) as pool:

        def claim(job: tuple[int, str]) -> bool:
            number, who = job
            try:
                (storage, other)[ord(who) % 2].claim_request(f"q{number}", who, now=NOW + 1)
            except QueueError:
                return False
            return True

        jobs = [(number, who) for number in range(6) for who in "abcd"]
        assert sum(pool.map(claim, jobs)) == 6
        limited = [
            QueuedRequest(time=NOW, expires_at=NOW + 60, context="[]", id=f"more {number}") for number in range(8)
        ]
        assert sum(pool.map(lambda each: storage.enqueue(each, most=9), limited)) == 3


def test_retention_by_two_at_once_counts_each_request_once(storage: PostgresStorage, address: str) -> None:
    storage.record_requests(
        [request(f"{number}", NOW + number / 1000, model="m", cost=1.0) for number in range(3000)]
    )
    with PostgresStorage(address) as other, ThreadPoolExecutor(2) as pool:
        removed = list(
            pool.map(lambda each: each.apply_retention(max_age_s=0, now=NOW + 9).requests, (storage, other))
        )
    assert sum(removed) == 3000
    (summary,) = storage.request_summary(by="model")
    assert (summary.requests, summary.removed, summary.spent) == (3000, 3000, 3000.0)


def test_many_processes_make_the_tables_of_one_database() -> None:
    address = server().database()
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: PostgresStorage(address), range(6)))
    opened[0].insert_agents([Agent("a")], at=NOW)
    assert [each.agent_changes() for each in opened] == [1] * 6
    for each in opened:
        each.close()


def test_what_may_not_be_opened_says_why(tmp_path: Path) -> None:
    made = server()
    latin = made.database("latin", options="ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    empty = made.database()
    for address, says in (
        (latin, "encoding LATIN1; make one that holds any text: createdb --encoding=UTF8"),
        (made.url("nobody's"), "no such database .*createdb"),
        (made.url("postgres", user="nobody"), "user refused"),
        ("postgresql://127.0.0.1:1/x?connect_timeout=2", "cannot be reached"),
        ("postgresql://[", "conninfo: .*give one such as postgresql://"),
    ):
        with pytest.raises(StorageError, match=says):
            PostgresStorage(address)
    with pytest.raises(StorageError, match="no tables of tiny-dancer yet"):
        PostgresStorage(empty, create=False)
    with pytest.raises(StorageError, match="no tables of tiny-dancer yet"):
        PostgresStorage(empty, read_only=True)
    with pytest.raises(StorageError, match="conninfo: int"):
        PostgresStorage(5)  # type: ignore[arg-type]
    made.sql(
        "CREATE SCHEMA tiny_dancer; CREATE TABLE tiny_dancer.agent (x int)",
        database=empty.split("/")[3].split("?")[0],
    )
    with pytest.raises(StorageError, match="another program's tables"):
        PostgresStorage(empty)


def test_tables_of_other_versions_are_refused(address: str) -> None:
    database = "versions"
    url = server().database(database)
    PostgresStorage(url).close()
    server().sql("INSERT INTO tiny_dancer.migration (name) VALUES ('0099_future')", database=database)
    with pytest.raises(StorageError, match=r"written by a newer version \(0099_future\); upgrade tiny-dancer"):
        PostgresStorage(url)
    # Where an extension owns the tables, it brings them up to date.
    server().sql("ALTER EXTENSION plpgsql ADD TABLE tiny_dancer.migration", database=database)
    server().sql("DELETE FROM tiny_dancer.migration", database=database)
    with pytest.raises(StorageError, match=r"lack 0001_first; ALTER EXTENSION plpgsql UPDATE"):
        PostgresStorage(url)
    server().sql("INSERT INTO tiny_dancer.migration (name) VALUES ('0001_first')", database=database)
    with PostgresStorage(url) as opened:
        opened.insert_candidate(record("a", 1, 0))


def test_a_user_needs_no_more_than_the_tables(tmp_path: Path) -> None:
    url = server().database("rights")
    PostgresStorage(url).close()
    server().sql(
        "CREATE ROLE writer LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE nobody LOGIN CONNECTION LIMIT 0; "
        "GRANT USAGE ON SCHEMA tiny_dancer TO writer, reader; "
        "GRANT SELECT ON ALL TABLES IN SCHEMA tiny_dancer TO reader; "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tiny_dancer TO writer",
        database="rights",
    )
    try:
        with pytest.raises(StorageError, match=r"no connection left .*; let the server have more"):
            PostgresStorage(server().url("rights", user="nobody"))
        with PostgresStorage(server().url("rights", user="writer")) as writer:
            fill(writer)
            writer.backup(tmp_path / "copy.db")
            writer.restore(tmp_path / "copy.db")
            expected = all_of(writer)
            with pytest.raises(StorageError, match="vacuum as the owner of the tables"):
                writer.vacuum()
        with PostgresStorage(server().url("rights", user="reader"), read_only=True) as reader:
            assert all_of(reader) == expected
            assert reader.query_candidates("text")
            with pytest.raises(StorageError, match="opened with read_only=True"):
                reader.insert_candidate(record("a", 1, 0))
        with (
            PostgresStorage(server().url("rights", user="reader")) as reader,
            pytest.raises(StorageError, match=r"permission denied .*GRANT USAGE ON SCHEMA tiny_dancer"),
        ):
            reader.record_requests([request("r", NOW)])
    finally:
        server().sql("DROP DATABASE rights WITH (FORCE)")
        server().sql("DROP ROLE writer; DROP ROLE reader; DROP ROLE nobody")


def test_who_writes_by_sql_is_seen(storage: PostgresStorage, address: str) -> None:
    with psycopg.connect(address, autocommit=True) as sql, CandidateRouter(storage=storage) as router:
        storage.insert_candidate(CandidateRecord("a", text="green tea"))
        assert list(router.route("tea").ids) == ["a"]
        sql.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('b', 'black tea')")
        assert set(router.route("tea").ids) == {"a", "b"}
        sql.execute("UPDATE tiny_dancer.candidate SET text = 'coffee' WHERE id = 'a'")
        assert router.route("tea").ids[0] == "b" and storage.get_candidates(["a"])[0].text == "coffee"
        sql.execute("DELETE FROM tiny_dancer.candidate WHERE id = 'b'")
        assert [each.candidate.id for each in storage.query_candidates("tea", touch=False)] == ["a"]
        before = storage.agent_changes(), storage.budget_changes()
        sql.execute("DELETE FROM tiny_dancer.agent")
        assert (storage.agent_changes(), storage.budget_changes()) == before
        sql.execute("INSERT INTO tiny_dancer.agent VALUES ('x', '{\"name\": \"x\"}', NULL, 5)")
        assert storage.agent_changes() == before[0] + 1 and storage.agents()[0].agent == Agent("x")
        sql.execute("TRUNCATE tiny_dancer.candidate")
        assert storage.query_candidates("coffee", touch=False) == ()
        storage.insert_candidate(CandidateRecord("v", [1.0, 2.0]))
        for embedding, says in (
            ("{1,2,3}", "dimension 3"),
            ("{1,NaN}", "check"),
            ("{1,NULL}", "check"),
            ("{}", "dimension 0"),
        ):
            with pytest.raises(psycopg.errors.CheckViolation, match=says):
                sql.execute("INSERT INTO tiny_dancer.candidate (id, embedding) VALUES ('w', %s)", (embedding,))


def test_operators_of_others_are_not_taken_for_those_that_triggers_mean(
    storage: PostgresStorage, address: str
) -> None:
    """A program may have any search_path: what stands in front there is nothing to the triggers."""
    other = (
        "CREATE FUNCTION hostile.other(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 LIKE $2 IS NULL';"
    )
    of = "(LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.other)"
    with psycopg.connect(address) as sql:  # rolled back
        sql.execute(
            f"CREATE SCHEMA hostile; {other} CREATE OPERATOR hostile.= {of}; CREATE OPERATOR hostile.<> {of}"
        )
        sql.execute("SET search_path = hostile, pg_catalog")
        sql.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('a', 'tea'), ('b', 'tea')")
        changes = "SELECT change, content_change FROM tiny_dancer.candidate"
        assert sql.execute(changes).fetchall() == [(1, 1), (1, 1)]
        sql.execute("DELETE FROM tiny_dancer.candidate WHERE id LIKE 'b'")
        assert sql.execute("SELECT id, change FROM tiny_dancer.candidate_deletion").fetchall() == [("b", 2)]
        sql.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('b', 'tea')")
        assert sql.execute("SELECT id FROM tiny_dancer.candidate_deletion").fetchall() == []
        sql.execute("INSERT INTO tiny_dancer.agent VALUES ('x', '{\"name\": \"x\"}', NULL, 5)")
        counted = "SELECT changes FROM tiny_dancer.table_change WHERE name LIKE 'agent'"
        assert sql.execute(counted).fetchall() == [(1,)]
        sql.rollback()


def test_a_row_that_nobody_can_read_is_named(storage: PostgresStorage, address: str) -> None:
    storage.insert_candidates([CandidateRecord("a", [1.0, 0.0], "tea"), CandidateRecord("b", text="tea")])
    with psycopg.connect(address, autocommit=True) as sql:
        sql.execute("INSERT INTO tiny_dancer.routing (decision_id, time, kind, chosen, shown) "
                    "VALUES ('d', 1, 'tools', 'x', '[{\"rank\": 0}]')")  # fmt: skip
        for call in (storage.verify, storage.routing_history):
            with pytest.raises(StorageError, match=r"shown of table routing .decision_id 'd'. cannot be read"):
                call()
        sql.execute("DELETE FROM tiny_dancer.routing")
        sql.execute("UPDATE tiny_dancer.candidate SET embedding = '{0,0}' WHERE id = 'a'")
        with pytest.raises(StorageError, match="the embedding of candidate 'a' is none"):
            storage.verify()
    assert storage.delete_candidates(["a"]) == 1
    assert storage.verify().candidates == 1


def test_it_works_through_a_pooler_by_transactions(address: str, tmp_path: Path) -> None:
    """Each transaction on another connection of the server's: nothing may be left on one for the next."""
    with (
        Pooler(server(), address) as pooler,
        PostgresStorage(pooler.address) as opened,
        ThreadPoolExecutor(6) as pool,
    ):
        fill(opened)
        list(pool.map(lambda number: opened.record_requests([request(f"p{number}", NOW + 9)]), range(40)))
        list(
            pool.map(
                lambda number: opened.upsert_candidates([CandidateRecord(f"p{number}", text="tea")]), range(40)
            )
        )
        assert len(opened.query_candidates("tea", k=99)) == 40
        opened.flush()
        before = all_of(opened)
        opened.backup(tmp_path / "copy.db")
        opened.restore(tmp_path / "copy.db")
        assert all_of(opened) == before
        opened.vacuum()
        left = server().sql(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND state = 'idle'"
        )
        assert left == [(0,)]


def test_draws_are_the_same_for_all_who_lock_as_the_tables_say(storage: PostgresStorage, address: str) -> None:
    """A function in the database draws for itself, as the extension does, while Python does."""
    draws = """
        SELECT pg_advisory_xact_lock(hashtextextended('b', 8386936662405899636));
        INSERT INTO tiny_dancer.budget_spending
        SELECT 'b', 5, 0, 1, 0 WHERE (SELECT coalesce(sum(drawn), 0) FROM tiny_dancer.budget_spending) + 1 <= 200
        ON CONFLICT (budget, start, holder) DO UPDATE SET drawn = budget_spending.drawn + 1;
    """

    def by_sql(_: int) -> None:
        with psycopg.connect(address) as connection:
            for _ in range(40):
                for statement in draws.strip().split(";")[:-1]:
                    connection.execute(statement)
                connection.commit()

    def by_storage(holder: int) -> None:
        got = 0
        for _ in range(40):
            got = storage.draw_budget(Draw("b", holder, 5, 5, got + 1, got + 1, 200, 0, 0)).drawn

    with ThreadPoolExecutor(6) as pool:
        jobs: list[tuple[Callable[[int], None], int]] = [(by_sql, 0)] * 3 + [
            (by_storage, each) for each in (1, 2, 3)
        ]
        list(pool.map(lambda job: job[0](job[1]), jobs))
    assert sum(each.drawn for each in storage.budget_entries("b")) == 200


def test_a_fork_is_told_to_open_it_again(storage: PostgresStorage) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            storage.budgets()
        except StorageError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"opened before a fork" in os.read(reading, 1000)
    os.close(reading)
    os.close(writing)
    assert storage.budgets() == ()


def test_passwords_are_in_no_message() -> None:
    with pytest.raises(StorageError) as caught:
        PostgresStorage("postgresql://anna:geheim@127.0.0.1:1/x?connect_timeout=2")
    assert "geheim" not in str(caught.value) and "postgresql://anna@127.0.0.1:1/x" in str(caught.value)


def test_an_address_or_a_path_opens_its_own_storage(address: str, tmp_path: Path) -> None:
    with CandidateRouter(CandidateRouterConfig(database_path=address)) as router:
        router.storage.insert_candidate(CandidateRecord("a", text="tea"))
        assert list(router.route("tea").ids) == ["a"]
    with open_storage(address) as opened:
        assert isinstance(opened, PostgresStorage)
    with open_storage(tmp_path / "a.db") as other:
        assert isinstance(other, SqliteStorage)
