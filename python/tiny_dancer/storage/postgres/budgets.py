"""The statements about budgets. Those that write run within a transaction. Triggers count changes to budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage import columns
from tiny_dancer.storage.budgets import Drawn, Entry, drawn, exists
from tiny_dancer.storage.postgres.agents import table_changes
from tiny_dancer.storage.postgres.migrate import LOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tiny_dancer.storage.budgets import Budget, Draw

_COLUMNS = ", ".join(columns.BUDGET)
_PLACES = ", ".join(["%s"] * len(columns.BUDGET))


def insert_budget(connection: psycopg.Connection[Any], budget: Budget, *, replace: bool) -> Budget:
    """Adds a budget, or puts it in the place of that of its id, whose ``created_at`` stays.

    Raises:
        BudgetError: there is one, and ``replace`` is false.
    """
    given = [f"{name} = excluded.{name}" for name in columns.BUDGET if name not in ("id", "created_at")]
    conflict = f"UPDATE SET {', '.join(given)}" if replace else "NOTHING"
    row = connection.execute(
        f"INSERT INTO tiny_dancer.budget ({_COLUMNS}) VALUES ({_PLACES}) "
        f"ON CONFLICT (id) DO {conflict} RETURNING {_COLUMNS}",
        columns.row_of_budget(budget),
        binary=True,
    ).fetchone()
    if row is None:
        raise exists(budget.id)
    return columns.budget(row)


def budgets(connection: psycopg.Connection[Any]) -> tuple[Budget, ...]:
    """All budgets, by id."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM tiny_dancer.budget ORDER BY id", binary=True)
    return tuple(columns.budget(row) for row in rows)


def delete_budget(connection: psycopg.Connection[Any], id: str) -> bool:
    """Removes a budget; false where there is none."""
    return connection.execute("DELETE FROM tiny_dancer.budget WHERE id = %s", (id,)).rowcount > 0


def budget_changes(connection: psycopg.Connection[Any]) -> int:
    """How often budgets were written."""
    return table_changes(connection, "budget")


def draw_budget(connection: psycopg.Connection[Any], draw: Draw) -> Drawn:
    """Lets a holder have more of a budget. One at a time: a holder that is new has no row that could be locked."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", (draw.budget, LOCK))
    rows = connection.execute(
        "SELECT holder, start, drawn FROM tiny_dancer.budget_spending "
        "WHERE budget = %s AND (start = %s OR (%s < %s AND start >= %s)) ORDER BY start, holder FOR UPDATE",
        (draw.budget, draw.start, draw.since, draw.start, draw.since),
        binary=True,
    ).fetchall()
    have = sum(each for holder, start, each in rows if holder == draw.holder and start == draw.start)
    others = sum(each for holder, _, each in rows if holder != draw.holder)
    now = drawn(draw, have, others)
    if now > have:
        connection.execute(
            "INSERT INTO tiny_dancer.budget_spending VALUES (%s, %s, %s, %s, 0) "
            "ON CONFLICT (budget, start, holder) DO UPDATE SET drawn = excluded.drawn",
            (draw.budget, draw.start, draw.holder, now),
        )
        connection.execute(
            "DELETE FROM tiny_dancer.budget_spending WHERE budget = %s AND start < %s", (draw.budget, draw.forget)
        )
    return Drawn(now, others)


def tell_budgets(connection: psycopg.Connection[Any], told: Sequence[Entry], *, shrink: bool) -> None:
    """Notes what was spent, and what was let go of."""
    drawn_then = "excluded.drawn" if shrink else "greatest(told.drawn, excluded.drawn)"
    rows = sorted(told, key=lambda each: (each.budget, each.start, each.holder))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tiny_dancer.budget_spending AS told VALUES (%s, %s, %s, %s, %s) "
            f"ON CONFLICT (budget, start, holder) DO UPDATE SET drawn = {drawn_then}, spent = excluded.spent",
            rows,
        )


def budget_entries(
    connection: psycopg.Connection[Any], budget: str | None, holder: int | None, since: int | None
) -> tuple[Entry, ...]:
    """The ledger."""
    parts, values = ["TRUE"], []
    for part, value in (("budget = %s", budget), ("holder = %s", holder), ("start >= %s", since)):
        if value is not None:
            parts.append(part)
            values.append(value)
    rows = connection.execute(
        "SELECT budget, start, holder, drawn, spent FROM tiny_dancer.budget_spending "
        f"WHERE {' AND '.join(parts)} ORDER BY budget, start, holder",
        values,
        binary=True,
    )
    return tuple(Entry(*row) for row in rows)


def epoch(connection: psycopg.Connection[Any]) -> str:
    """What tells this database from another, and from itself before a backup was restored."""
    row = connection.execute("SELECT epoch FROM tiny_dancer.state").fetchone()
    assert row is not None
    found: str = row[0]
    return found
