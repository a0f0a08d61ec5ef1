"""Budgets and history in SQL: exact, whoever spends at once, is killed, or looks at one moment throughout; and the
same tables as Python's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors
from tests.integration.pg_cluster import database, extended, name

from tiny_dancer import AgentRegistry
from tiny_dancer.budgets import Budgets
from tiny_dancer.errors import BudgetExceededError
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import Budget
from tiny_dancer.storage.periods import PARTS, check_period, period, rolling

if TYPE_CHECKING:
    from collections.abc import Iterator

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def template() -> str:
    return name(database())


@pytest.fixture
def url(template: str) -> str:
    return extended().database(template=template)


@pytest.fixture
def db(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def one(db: Connection, statement: str, *values: Any) -> Any:
    row = db.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def refused(sqlstate: str, detail: str) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert caught.value.sqlstate == sqlstate, caught.value
    assert detail in (caught.value.diag.message_detail or ""), caught.value
    assert caught.value.diag.message_hint


def standing(db: Connection, budget: str) -> tuple[Any, Any, Any]:
    row = db.execute(
        "SELECT spent, reserved, remaining FROM tiny_dancer.budget_status() WHERE id = %s", (budget,)
    ).fetchone()
    assert row is not None
    return row


def reserve(db: Connection, usd: float | str, who: str = "team := 'research'") -> Any:
    return one(db, f"SELECT hold FROM tiny_dancer.reserve_budget({usd}, {who})")


RESEARCH = "SELECT tiny_dancer.set_budget('team', 'research', %s, 'month')"


def test_what_is_reserved_is_settled_or_let_go(db: Connection) -> None:
    assert one(db, RESEARCH, 1) == "team/research/1mo"
    first, second = reserve(db, 0.3), reserve(db, 0.2)
    assert standing(db, "team/research/1mo") == (0, Decimal("0.5"), Decimal("0.5"))
    with refused("TD011", "budget: team/research/1mo; limit 1 USD, left 0.5, wanted 0.500000000001"):
        reserve(db, "0.500000000001")
    assert standing(db, "team/research/1mo") == (0, Decimal("0.5"), Decimal("0.5"))
    db.execute("SELECT tiny_dancer.settle_budget(%s, 0.1)", (first,))
    assert standing(db, "team/research/1mo") == (Decimal("0.1"), Decimal("0.2"), Decimal("0.7"))
    db.execute("SELECT tiny_dancer.release_budget(%s)", (second,))
    assert standing(db, "team/research/1mo") == (Decimal("0.1"), 0, Decimal("0.9"))
    for hold in (first, second):
        with refused("TD012", f"hold: {hold}"):
            db.execute("SELECT tiny_dancer.settle_budget(%s, 0)", (hold,))
    # All of a call that cost more than was reserved counts.
    db.execute("SELECT tiny_dancer.settle_budget(%s, 5)", (reserve(db, 0.9),))
    assert standing(db, "team/research/1mo") == (Decimal("5.1"), 0, 0)
    with refused("TD011", "left 0,"):
        reserve(db, 0)
    # Nobody else's, and no budget at all.
    assert reserve(db, 100, "team := 'sales'") is None
    db.execute("SELECT tiny_dancer.settle_budget(NULL, 100)")


def test_a_call_falls_under_all_of_its_budgets_or_none(db: Connection) -> None:
    db.execute(RESEARCH, (10,))
    for scope, subject, usd in (("all", "", 5), ("tag", "night", 3), ("model", "large", 2), ("agent", "anna", 9)):
        db.execute("SELECT tiny_dancer.set_budget(%s, %s, %s)", (scope, subject, usd))
    who = "team := 'research', model := 'large', tags := '{night,day}'"
    with refused("TD011", "budget: model/large/ever"):
        reserve(db, 2.5, who)
    assert one(db, "SELECT count(*) FROM tiny_dancer.budget_hold") == 0
    hold = reserve(db, 1.5, who)
    left = dict(db.execute("SELECT id, remaining FROM tiny_dancer.budget_status()").fetchall())
    assert left == {
        "agent/anna/ever": 9,
        "all/ever": Decimal("3.5"),
        "model/large/ever": Decimal("0.5"),
        "tag/night/ever": Decimal("1.5"),
        "team/research/1mo": Decimal("8.5"),
    }
    assert one(db, f"SELECT tiny_dancer.budget_remaining({who})") == Decimal("0.5")
    assert one(db, "SELECT tiny_dancer.budget_remaining(agent := 'anna')") == Decimal("3.5")
    db.execute("SELECT tiny_dancer.settle_budget(%s, 1)", (hold,))
    assert one(db, f"SELECT tiny_dancer.budget_remaining({who})") == 1
    # A soft one refuses nothing, and says that it is spent.
    db.execute("SELECT tiny_dancer.set_budget('team', 'research', 1.5, NULL, 'soft')")
    assert one(db, f"SELECT soft FROM tiny_dancer.reserve_budget(.5, {who})") == []
    assert one(db, "SELECT soft FROM tiny_dancer.reserve_budget(1.5, team := 'research')") == [
        "team/research/ever/soft"
    ]


def test_what_nobody_settles_is_spent(db: Connection) -> None:
    db.execute(RESEARCH, (1,))
    hold = one(db, "SELECT hold FROM tiny_dancer.reserve_budget(.4, team := 'research', lease := '1 microsecond')")
    assert standing(db, "team/research/1mo") == (Decimal("0.4"), 0, Decimal("0.6"))
    # Late is better than never.
    db.execute("SELECT tiny_dancer.settle_budget(%s, .1)", (hold,))
    assert standing(db, "team/research/1mo") == (Decimal("0.1"), 0, Decimal("0.9"))
    lost = reserve(db, 0.5)
    db.execute("UPDATE tiny_dancer.budget_hold SET expires_at = expires_at - 100000")
    reserve(db, 0.1)
    assert standing(db, "team/research/1mo") == (Decimal("0.6"), Decimal("0.1"), Decimal("0.3"))
    with refused("TD012", f"hold: {lost}"):
        db.execute("SELECT tiny_dancer.settle_budget(%s, 0)", (lost,))


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "detail"),
    [
        ("'teams', 'x', 1", "22023", "scope: teams"),
        ("NULL, 'x', 1", "22023", "scope: null"),
        ("'team', '', 1", "22023", "subject: empty"),
        ("'all', 'x', 1", "22023", "subject: x"),
        ("'team', 'x', -1", "22003", "usd: -1"),
        ("'team', 'x', 'NaN'", "22003", "usd: NaN"),
        ("'team', 'x', 'Infinity'", "22003", "usd: Infinity"),
        ("'team', 'x', NULL", "22003", "usd: null"),
        ("'team', 'x', 9000000.01", "22003", "usd: 9000000.01"),
        ("'team', 'x', 1, 'fortnight'", "22023", "period: fortnight"),
        ("'team', 'x', 1, 'rolling 1mo'", "22023", "period: rolling 1mo"),
        ("'team', 'x', 1, 'rolling 29s'", "22023", "period: rolling 29s"),
        ("'team', 'x', 1, 'day', 'harsh'", "22023", "kind: harsh"),
        ("'team', 'x', 1, ends_at := '2020-01-01'", "22023", "ends_at: 2020-01-01"),
        ("'team', 'x', 1, starts_at := '2999-01-02', ends_at := '2999-01-01'", "22023", "ends_at: 2999-01-01"),
        ("'team', 'x', 1, ends_at := 'infinity'", "22008", "ends_at: infinity"),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be(db: Connection, arguments: str, sqlstate: str, detail: str) -> None:
    with refused(sqlstate, detail):
        db.execute(f"SELECT tiny_dancer.set_budget({arguments})")  # type: ignore[arg-type]
    assert one(db, "SELECT count(*) FROM tiny_dancer.budget") == 0


def test_amounts_that_cannot_be(db: Connection) -> None:
    db.execute(RESEARCH, (9_000_000,))
    for amount in ("-0.1", "'NaN'", "'Infinity'", "9000001", "NULL"):
        with refused("22003", "cost: "):
            reserve(db, amount)
    with refused("22023", "lease: -00:00:01"):
        db.execute("SELECT tiny_dancer.reserve_budget(1, team := 'research', lease := '-1 s')")
    hold = reserve(db, 9_000_000)
    with refused("22003", "cost: -1"):
        db.execute("SELECT tiny_dancer.settle_budget(%s, -1)", (hold,))
    with refused("TD011", "left 0"):
        reserve(db, "0.000000000001")
    db.execute("SELECT tiny_dancer.set_budget('team', 'research', 1, NULL, 'soft')")
    # No number holds the sum.
    with pytest.raises(psycopg.Error):
        for _ in range(3):
            reserve(db, 9_000_000, "key := NULL, team := 'research'")


def test_periods_are_those_of_python(db: Connection) -> None:
    chance = random.Random(3)
    spelled = [
        "day",
        "Week ",
        "month",
        "year",
        "hour",
        "30d",
        "2w",
        "45m",
        "90s",
        "3mo",
        "7mo",
        "rolling 30d",
        "Rolling 45s",
    ]
    for written in spelled:
        assert one(db, "SELECT tiny_dancer.budget_period(%s)", written) == check_period("period", written)
    lengths = [None, *(check_period("period", each) for each in spelled)]
    for _ in range(300):
        length = chance.choice(lengths)
        created = chance.uniform(1.6e9, 1.9e9)
        now = chance.uniform(created - 1e6, created + 3e8)
        if chance.random() < 0.3:
            now = datetime(2026, chance.randint(1, 12), 1, tzinfo=UTC).timestamp() - chance.choice((0.0, 0.001))
        row = db.execute(
            "SELECT start, since, ends_at FROM tiny_dancer.budget_span(%s, %s, %s)", (length, created, now)
        ).fetchone()
        assert row is not None
        if part := rolling(length):
            start = int(now * 1000 // part) * part
            assert row[:2] == (start, start - PARTS * part)
        else:
            first, end = period(length, created, now)
            assert row == (round(first * 1000), round(first * 1000), end), (length, created, now)


def test_a_rolling_window_gives_back_what_has_left_it(db: Connection) -> None:
    db.execute("SELECT tiny_dancer.set_budget('team', 'research', 1, 'rolling 30s')")
    db.execute("SELECT tiny_dancer.settle_budget(%s, .75)", (reserve(db, 0.75),))
    with refused("TD011", "left 0.25"):
        reserve(db, 0.5)
    db.execute("UPDATE tiny_dancer.budget_spending SET start = start - 20000")
    with refused("TD011", "left 0.25"):
        reserve(db, 0.5)
    db.execute("UPDATE tiny_dancer.budget_spending SET start = start - 12000")
    assert reserve(db, 0.5) is not None


# At once ---------------------------------------------------------------------------------------------------------


def at_once(number: int, work: Any) -> list[BaseException]:
    """Runs ``work(seat)`` in threads; what went wrong."""
    wrong: list[BaseException] = []

    def run(seat: int) -> None:
        try:
            work(seat)
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(seat,)) for seat in range(number)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return wrong


def test_no_cent_over_however_many_ask_at_once(url: str, db: Connection) -> None:
    """Ten sessions, in turn by themselves, within transactions and in the strictest of them, some of "
    "which roll back."""
    db.execute(RESEARCH, (1,))
    db.execute("SELECT tiny_dancer.set_budget('all', '', 100)")
    taken = [0] * 10

    def work(seat: int) -> None:
        chance = random.Random(seat)
        level = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")[seat % 3]
        with psycopg.connect(url, autocommit=True) as mine:
            tries = 0
            while tries < 15:
                try:
                    mine.execute(f"BEGIN ISOLATION LEVEL {level}")
                    reserve(mine, 0.01)
                    if chance.random() < 0.2:
                        mine.execute("ROLLBACK")
                    else:
                        mine.execute("COMMIT")
                        taken[seat] += 1
                except errors.SerializationFailure:
                    mine.execute("ROLLBACK")
                    continue
                except psycopg.Error as error:
                    assert error.sqlstate == "TD011", error
                    mine.execute("ROLLBACK")
                tries += 1

    assert not at_once(10, work)
    assert sum(taken) == 100
    assert standing(db, "team/research/1mo") == (0, 1, 0)
    assert one(db, "SELECT sum(amount) FROM tiny_dancer.budget_hold WHERE budget = 'team/research/1mo'") == 10**12


def test_no_deadlock_where_calls_fall_under_budgets_in_any_order(url: str, db: Connection) -> None:
    for letter in "abcd":
        db.execute("SELECT tiny_dancer.set_budget('tag', %s, 1000)", (letter,))

    def work(seat: int) -> None:
        chance = random.Random(seat)
        with psycopg.connect(url, autocommit=True) as mine:
            for _ in range(20):
                tags = "".join(chance.sample("abcd", 3))
                hold = one(mine, "SELECT hold FROM tiny_dancer.reserve_budget(1, tags := %s)", list(tags))
                mine.execute("SELECT tiny_dancer.settle_budget(%s, .5)", (hold,))

    assert not at_once(6, work)
    rows = db.execute("SELECT sum(spent), sum(reserved) FROM tiny_dancer.budget_status()").fetchone()
    assert rows == (6 * 20 * 3 * Decimal("0.5"), 0)


def test_python_and_sql_spend_of_one_ledger(url: str, db: Connection) -> None:
    db.execute(RESEARCH, (1,))
    taken = [0] * 8

    def by_sql(seat: int) -> None:
        with psycopg.connect(url, autocommit=True) as mine:
            for _ in range(30):
                try:
                    reserve(mine, 0.01)
                    taken[seat] += 1
                except psycopg.Error as error:
                    assert error.sqlstate == "TD011", error

    def by_python(seat: int) -> None:
        with PostgresStorage(url) as storage, Budgets(storage) as budgets:
            for _ in range(30):
                try:
                    budgets.reserve(0.01, team="research").settle(0.01)
                    taken[seat] += 1
                except BudgetExceededError:
                    pass

    assert not at_once(8, lambda seat: (by_sql, by_python)[seat % 2](seat))
    # Python's tables draw ahead, a hundredth of the limit, and give it back when they close.
    assert 92 <= sum(taken) <= 100
    assert one(db, "SELECT sum(drawn) FROM tiny_dancer.budget_spending") == sum(taken) * 10**10
    with PostgresStorage(url) as storage, Budgets(storage) as budgets:
        (found,) = budgets.standings()
        assert Decimal(str(round(found.left, 9))) == standing(db, "team/research/1mo")[2]
        for _ in range(100 - sum(taken)):
            budgets.reserve(0.01, team="research").settle(0.01)
        with pytest.raises(BudgetExceededError):
            budgets.reserve(0.01, team="research")


def test_a_transaction_of_one_moment_does_not_spend_what_others_have(url: str, db: Connection) -> None:
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        # Spent by SQL meanwhile, where nothing was drawn before, and where something was.
        for _ in range(2):
            db.execute("UPDATE tiny_dancer.budget SET most = 0")
            db.execute(RESEARCH, (1,))
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(f"BEGIN ISOLATION LEVEL {level}")
                one(other, "SELECT count(*) FROM tiny_dancer.budget_spending")
                rest = standing(db, "team/research/1mo")[2]
                reserve(db, str(rest))
                with pytest.raises(psycopg.Error) as caught:
                    reserve(other, 0.1)
                assert caught.value.sqlstate in ("40001", "TD011")
        db.execute("DELETE FROM tiny_dancer.budget_spending")
        # Spent by Python meanwhile.
        with psycopg.connect(url, autocommit=True) as other, PostgresStorage(url) as storage:
            other.execute(f"BEGIN ISOLATION LEVEL {level}")
            one(other, "SELECT count(*) FROM tiny_dancer.budget_spending")
            with Budgets(storage) as budgets:
                budgets.reserve(1.0, team="research").settle(1.0)
            with refused("TD011", "left 0,"):
                reserve(other, 0.1)
        db.execute("DELETE FROM tiny_dancer.budget_spending")
    db.execute("BEGIN READ ONLY")
    assert one(db, "SELECT tiny_dancer.budget_remaining(team := 'research')") == 1
    with pytest.raises(errors.ReadOnlySqlTransaction):
        reserve(db, 0.1)
    db.execute("ROLLBACK")


SPENDER = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as db:
    while True:
        hold = db.execute("SELECT hold FROM tiny_dancer.reserve_budget(0.01, team := 'research')").fetchone()[0]
        print("reserved", flush=True)
        db.execute("SELECT tiny_dancer.settle_budget(%s, 0.01)", (hold,))
        print("settled", flush=True)
"""


def test_what_is_killed_has_spent_at_most_what_it_reserved(url: str, db: Connection) -> None:
    db.execute(RESEARCH, (1000,))
    counts = {"reserved": 0, "settled": 0}
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", SPENDER, url], stdout=subprocess.PIPE, text=True) as spender:
            assert spender.stdout is not None
            lines = [spender.stdout.readline().strip() for _ in range(21)]
            spender.send_signal(signal.SIGKILL)
            lines += spender.stdout.read().split()
        for line in lines:
            counts[line] += 1
    # Who was killed within a statement is gone from the server when nobody holds the lock any more.
    while one(db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") > 1:
        pass
    spent, reserved, _ = standing(db, "team/research/1mo")
    assert counts["settled"] <= spent * 100 <= counts["reserved"] + 3
    assert 0 <= reserved * 100 <= 3
    assert (spent + reserved) * 100 >= counts["reserved"]
    ledger = one(db, "SELECT sum(drawn) FROM tiny_dancer.budget_spending")
    holds = one(db, "SELECT coalesce(sum(amount), 0) FROM tiny_dancer.budget_hold")
    assert (ledger, holds) == (spent * 10**12 + holds, reserved * 10**12)


def test_a_backend_that_is_killed_within_a_transaction_has_reserved_nothing(url: str, db: Connection) -> None:
    db.execute(RESEARCH, (1,))
    kept = reserve(db, 0.25)
    with psycopg.connect(url, autocommit=True) as victim:
        victim.execute("BEGIN")
        reserve(victim, 0.75)
        os.kill(one(victim, "SELECT pg_backend_pid()"), signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            victim.execute("COMMIT")
    # The server starts anew of itself.
    while True:
        try:
            with psycopg.connect(url, autocommit=True) as again:
                assert standing(again, "team/research/1mo") == (0, Decimal("0.25"), Decimal("0.75"))
                assert reserve(again, 0.75) is not None
                with refused("TD011", "left 0,"):
                    reserve(again, 0.01)
                again.execute("SELECT tiny_dancer.settle_budget(%s, .25)", (kept,))
                return
        except psycopg.OperationalError:
            continue


# The same tables as Python's


def test_budgets_are_those_of_python(url: str, db: Connection) -> None:
    moments = (datetime(2999, 1, 1, tzinfo=UTC), datetime(2999, 2, 1, tzinfo=UTC))
    given = [
        ("team", "ä/'x", 12.34, "Month", "hard", None, None),
        ("all", "", 0.1, "rolling 30d", "soft", None, None),
        ("tag", "t", 9_000_000, None, "hard", *moments),
        ("user", "u", 0, "2w", "soft", None, moments[1]),
    ]
    ids = [one(db, "SELECT tiny_dancer.set_budget(%s, %s, %s, %s, %s, %s, %s)", *each) for each in given]
    with PostgresStorage(url) as storage:
        for id, (scope, subject, usd, length, kind, starts, ends) in zip(ids, given, strict=True):
            (found,) = [each for each in storage.budgets() if each.id == id]
            same = Budget(
                scope, subject, limit=usd, period=length, kind=kind, created_at=found.created_at,
                starts_at=None if starts is None else starts.timestamp(),
                ends_at=None if ends is None else ends.timestamp(),
            )  # fmt: skip
            assert found == same
        changes = storage.budget_changes()
        created = one(db, "SELECT created_at FROM tiny_dancer.budget WHERE id = 'all/rolling 30d/soft'")
        db.execute("SELECT tiny_dancer.set_budget('all', '', .2, 'rolling 30d', 'soft')")
        assert storage.budget_changes() > changes
        assert one(db, "SELECT created_at FROM tiny_dancer.budget WHERE id = 'all/rolling 30d/soft'") == created
        storage.insert_budget(Budget("team", "of python", limit=2.5, period="week"))
    assert reserve(db, 2.5, "team := 'of python'") is not None
    assert one(db, "SELECT tiny_dancer.delete_budget('tag/t/ever')")
    assert not one(db, "SELECT tiny_dancer.delete_budget('tag/t/ever')")


def test_analytics_of_python_read_what_sql_wrote_and_the_other_way_round(url: str, db: Connection) -> None:
    db.execute("SELECT tiny_dancer.register_agent('small', 'llm', '{sum}', .0005, NULL, 400, .7)")
    db.execute("SELECT tiny_dancer.register_agent('large', 'llm', '{sum}', .01, NULL, 1500, .9)")
    db.execute(RESEARCH, (1,))
    hold = reserve(db, 0.5)
    row = db.execute(
        "SELECT decision_id, agent_name, estimated_cost FROM tiny_dancer.route_recorded('sum this "
        "up', 'quality', keep_text := true)"
    ).fetchone()
    assert row is not None
    decision, chosen, estimated = row
    assert chosen == "large"
    db.execute(
        "SELECT tiny_dancer.record_outcome('large', %s, quality := .75, cost := .25, latency_ms := "
        "1250, input_tokens := 100, "
        "output_tokens := 50, task := 'sum', hold := %s, team := 'research', tags := '{night}')",
        (decision, hold),
    )
    db.execute(
        "SELECT tiny_dancer.record_outcome('small', success := false, latency_ms := 100, \"user\" := 'ann')"
    )
    assert standing(db, "team/research/1mo") == (Decimal("0.25"), 0, Decimal("0.75"))
    with PostgresStorage(url) as storage:
        (decided,) = storage.routing_history()
        assert (decided.decision_id, decided.chosen, decided.cost, decided.query_text) == (
            decision,
            "large",
            estimated,
            "sum this up",
        )
        newest, first = storage.request_history()
        assert (first.agent, first.decision_id, first.cost, first.latency, first.tags) == (
            "large",
            decision,
            0.25,
            1.25,
            ("night",),
        )
        assert (newest.agent, newest.agents_failed, newest.status, newest.user) == (
            "small",
            ("small",),
            502,
            "ann",
        )
        by_agent = {each.group[0]: each for each in storage.request_summary(by="agent")}
        assert by_agent["large"].spent == 0.25
        assert by_agent["large"].score == 0.75
        assert by_agent["small"].success_rate == 0
        registry = AgentRegistry(storage=storage)
        seen = registry.statistics("large")
        assert (seen["outcomes"], seen["quality"], seen["latency_s"], seen["tasks"]) == (
            1,
            0.75,
            1.25,
            {"sum": 0.75},
        )
        assert seen["cost_ratio"] == 0.25 / estimated
        assert registry.statistics("small")["success_rate"] == 0
        storage.apply_retention(max_rows=1)
        for group in ("agent", "team", "status", "day", "endpoint"):
            rows = db.execute(
                'SELECT "group", total_requests, total_cost, avg_latency, success_rate, total_tokens, score '
                "FROM tiny_dancer.routing_analytics('1 day', %s)",
                (group,),
            ).fetchall()
            summed = {each.group[0]: each for each in storage.request_summary(by=group)}
            assert {each[0] for each in rows} == set(summed)
            for label, requests, cost, latency, success, tokens, score in rows:
                each = summed[label]
                assert each.latency is not None
                assert (requests, cost, latency, success, tokens, score) == (
                    each.requests, each.spent, pytest.approx(1000 * each.latency), each.success_rate,
                    each.input_tokens + each.output_tokens, each.score,
                )  # fmt: skip
    for arguments, detail in (
        ("'7 days', 'agnt'", "group_by: agnt"),
        ("'-1 day'", "time_range: -1 day"),
        ("NULL", "time_range: null"),
    ):
        with refused("22023", detail):
            db.execute(f"SELECT * FROM tiny_dancer.routing_analytics({arguments})")  # type: ignore[arg-type]
    with refused("22003", "quality: NaN"):
        db.execute("SELECT tiny_dancer.record_outcome('large', quality := 'NaN')")
    with refused("TD009", "agent: nobody"):
        db.execute("SELECT tiny_dancer.record_outcome('nobody')")
    with refused("22004", "success: null"):
        db.execute("SELECT tiny_dancer.record_outcome('large', success := NULL)")
    for state, argument, detail in (
        ("22003", "input_tokens := -1", "input_tokens: -1"),
        ("22003", "output_tokens := 9223372036854775807", "output_tokens: 9223372036854775807"),
        ("22004", "tags := '{a,NULL}'", "tags: a null among them"),
        ("22008", "at := '-infinity'", "at: -infinity"),
    ):
        with refused(state, detail):
            db.execute(f"SELECT tiny_dancer.record_outcome('large', {argument})")  # type: ignore[arg-type]


def test_a_budget_goes_where_it_buys_most(db: Connection) -> None:
    for id, price, quality, latency in (
        ("small", 0.0005, 0.6, 400),
        ("large", 0.01, 0.9, 1500),
        ("slow", 0.001, 0.95, 9000),
    ):
        db.execute(
            "SELECT tiny_dancer.register_agent(%s, 'llm', '{}', %s, NULL, %s, %s)", (id, price, latency, quality)
        )
    asked = (
        "SELECT agent_name, share, monthly_requests, allocated_budget, mean_quality, total_cost, sufficient FROM "
    )
    plan = "tiny_dancer.allocate_budget('[[1000, 1000, 100]]', %s, %s, %s, 1000)"
    rich = db.execute(asked + plan, (1000, 0.85, 2000)).fetchall()
    # 1,000 requests of 2,000 tokens: 20 USD by the large one, 1 USD by the small one; the slow one is too slow.
    assert rich == [
        ("large", 1, 1000, pytest.approx(20), pytest.approx(0.9), pytest.approx(20), True),
        ("slow", 0, 0, 0, pytest.approx(0.9), pytest.approx(20), True),
        ("small", 0, 0, 0, pytest.approx(0.9), pytest.approx(20), True),
    ]
    half = {row[0]: row for row in db.execute(asked + plan, (10.5, 0.85, 2000)).fetchall()}
    assert half["large"][1] == pytest.approx(0.5)
    assert half["small"][3] == pytest.approx(0.5)
    assert half["large"][4:] == (pytest.approx(0.75), pytest.approx(10.5), False)
    patient = {row[0]: row[1] for row in db.execute(asked + plan, (10.5, None, None)).fetchall()}
    assert patient["slow"] == 1
    with refused("TD008", "monthly_budget: 0.5 USD, and the cheapest assignment costs 1.0"):
        db.execute(asked + plan, (0.5, None, 2000))
    refusals: list[tuple[tuple[float | None, ...], str]] = [
        ((-1, None, None), "monthly_budget: -1"),
        ((1, 2, None), "quality_threshold: 2"),
        ((1, None, 0), "latency_threshold_ms: 0"),
    ]
    for values, detail in refusals:
        with refused("TD007", detail):
            db.execute(asked + plan, values)
    with refused("22023", "tokens: "):
        db.execute("SELECT * FROM tiny_dancer.allocate_budget('{}', 1, 1, 1, 1)")
    with refused("22004", "monthly_budget: null"):
        db.execute("SELECT * FROM tiny_dancer.optimize_budget(NULL)")
    db.execute(
        "SELECT tiny_dancer.record_outcome('large', input_tokens := 1000, output_tokens := 1000) FROM "
        "generate_series(1, 30)"
    )
    logged = db.execute(
        "SELECT agent_name, share, monthly_requests FROM tiny_dancer.optimize_budget(1e6, NULL, 2000)"
    ).fetchall()
    # Within the first hour: thirty an hour, over a month.
    assert logged[0] == ("large", 1, pytest.approx(30 * 24 * 365.2425 / 12))
