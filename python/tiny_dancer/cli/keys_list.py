"""`tiny-dancer keys list`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.keys_database import DEFAULT, Database, described
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.storage import Spend

HELP = """List the API keys of a gateway: whether they serve, what they may use, what they have spent this UTC day
and month, and of --max-budget in its period. Secrets are not known to anybody but their owners.

Example: tiny-dancer keys list --database gateway.db --json"""


def list_keys(database: Database = DEFAULT, json: Json = False) -> None:
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password
    from tiny_dancer.storage.periods import day_start, month_start, period

    now = time.time()
    with open_storage(database, read_only=True, mirror=False) as storage:
        keys = storage.api_keys()
        day, month = storage.spend(since=day_start(now)), storage.spend(since=month_start(now))
        starts = {key.id: period(key.budget_duration, key.created_at, now)[0] for key in keys}
        spent = {start: storage.spend(since=start) for start in set(starts.values())}
    rows = [
        {
            **described(key),
            "spent_today": _cost(day.get(key.id)),
            "spent_this_month": _cost(month.get(key.id)),
            "spend": _cost(spent[starts[key.id]].get(key.id)),
        }
        for key in keys
    ]
    if json:
        print_json(rows)
    elif rows:
        _show(rows)
    else:
        say(f"{without_password(database)}: no keys yet; see tiny-dancer keys create")


def _cost(spend: Spend | None) -> float:
    return 0.0 if spend is None else spend.cost


def _show(rows: list[dict[str, Any]]) -> None:
    periods = any(row["max_budget"] is not None for row in rows)
    header = (
        "id",
        "name",
        "state",
        "expires",
        "models",
        "requests/min",
        "tokens/min",
        "USD today",
        "USD month",
        *(["max budget"] if periods else []),
    )
    cells = [
        (
            row["id"],
            row["name"],
            row["state"] + (", operator" if row["operator"] else ""),
            (row["expires"] or "never")[:10],
            ", ".join(row["models"] or ["all"]),
            _limit(row["requests_per_minute"]),
            _limit(row["tokens_per_minute"]),
            _spent(row, "spent_today", "daily_budget"),
            _spent(row, "spent_this_month", "monthly_budget"),
            *([_of_period(row)] if periods else []),
        )
        for row in rows
    ]
    console().print(FittedTable(header, cells, words=frozenset({1, 4})))


def _limit(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _spent(row: dict[str, Any], spent: str, budget: str) -> str:
    if row[budget] is None:
        return f"{row[spent]:.4g}"
    return f"{row[spent]:.4g} of {row[budget]:g}" + (" (soft)" if row["cheaper_when_spent"] else "")


def _of_period(row: dict[str, Any]) -> str:
    if row["max_budget"] is None:
        return ""
    return _spent(row, "spend", "max_budget") + (f" / {row['budget_duration']}" if row["budget_duration"] else "")
