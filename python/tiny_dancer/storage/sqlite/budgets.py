"""The statements about budgets. Those that write run within the writer's transaction."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

from tiny_dancer.storage import columns
from tiny_dancer.storage.budgets import Drawn, Entry, drawn, exists

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from tiny_dancer.storage.budgets import Budget, Draw

_COLUMNS = ", ".join(columns.BUDGET)
_PLACES = ", ".join("?" * len(columns.BUDGET))


def insert_budget(connection: apsw.Connection, budget: Budget, *, replace: bool) -> Budget:
    """Adds a budget, or puts it in the place of that of its id.

    Raises:
        BudgetError: there is one, and ``replace`` is false.
    """
    created = connection.execute("SELECT created_at FROM budget WHERE id = ?", (budget.id,)).get
    if created is not None:
        if not replace:
            raise exists(budget.id)
        assert isinstance(created, float)
        budget = changed(budget, created_at=created)
    connection.execute(
        f"INSERT OR REPLACE INTO budget ({_COLUMNS}) VALUES ({_PLACES})",
        columns.row_of_budget(budget),
    )
    _count(connection)
    return budget


def budgets(connection: apsw.Connection) -> tuple[Budget, ...]:
    """All budgets, by id."""
    rows: list[tuple[Any, ...]] = connection.execute(f"SELECT {_COLUMNS} FROM budget ORDER BY id").fetchall()
    return tuple(columns.budget(row) for row in rows)


def delete_budget(connection: apsw.Connection, id: str) -> bool:
    """Removes a budget; false where there is none."""
    connection.execute("DELETE FROM budget WHERE id = ?", (id,))
    found = connection.changes() > 0
    if found:
        _count(connection)
    return found


def budget_changes(connection: apsw.Connection) -> int:
    """How often budgets were written."""
    changes = connection.execute("SELECT changes FROM budget_change").get
    assert isinstance(changes, int)
    return changes


def draw_budget(connection: apsw.Connection, draw: Draw) -> Drawn:
    """Lets a holder have more of a budget."""
    have, others = connection.execute(
        "SELECT coalesce(sum(CASE WHEN holder = ?2 AND start = ?3 THEN drawn END), 0), "
        "coalesce(sum(CASE WHEN holder <> ?2 THEN drawn END), 0) "
        "FROM budget_spending WHERE budget = ?1 AND (start = ?3 OR (?4 < ?3 AND start >= ?4))",
        (draw.budget, draw.holder, draw.start, draw.since),
    ).get
    now = drawn(draw, have, others)
    if now > have:
        connection.execute(
            "INSERT INTO budget_spending VALUES (?1, ?2, ?3, ?4, 0) "
            "ON CONFLICT (budget, start, holder) DO UPDATE SET drawn = ?4",
            (draw.budget, draw.start, draw.holder, now),
        )
        connection.execute(
            "DELETE FROM budget_spending WHERE budget = ? AND start < ?", (draw.budget, draw.forget)
        )
    return Drawn(now, others)


def tell_budgets(connection: apsw.Connection, told: Sequence[Entry], *, shrink: bool) -> None:
    """Notes what was spent, and what was let go of."""
    drawn_then = "?4" if shrink else "max(drawn, ?4)"
    connection.executemany(
        "INSERT INTO budget_spending VALUES (?1, ?2, ?3, ?4, ?5) "
        f"ON CONFLICT (budget, start, holder) DO UPDATE SET drawn = {drawn_then}, spent = ?5",
        told,
    )


def budget_entries(
    connection: apsw.Connection, budget: str | None, holder: int | None, since: int | None
) -> tuple[Entry, ...]:
    """The ledger."""
    rows = connection.execute(
        "SELECT budget, start, holder, drawn, spent FROM budget_spending WHERE (?1 IS NULL OR budget = ?1) "
        "AND (?2 IS NULL OR holder = ?2) AND (?3 IS NULL OR start >= ?3) ORDER BY budget, start, holder",
        (budget, holder, since),
    )
    return tuple(Entry(*row) for row in rows)


def epoch(connection: apsw.Connection) -> str:
    """What tells this database from another, and from itself before a backup was restored."""
    found = connection.execute("SELECT epoch FROM state").get
    assert isinstance(found, str)
    return found


def _count(connection: apsw.Connection) -> None:
    connection.execute("UPDATE budget_change SET changes = changes + 1")
