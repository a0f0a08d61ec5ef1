"""Budgets and what of them is spent, by the database."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tiny_dancer.gateway.access.budgets import terms_of
from tiny_dancer.gateway.access.keys import state_of
from tiny_dancer.storage.periods import period

if TYPE_CHECKING:
    from tiny_dancer.storage import SqliteStorage


def budgets(storage: SqliteStorage, now: float) -> list[dict[str, Any]]:
    """Budgets of keys that still serve, the fullest first."""
    found = []
    spent: dict[tuple[float, float], Any] = {}
    for key in storage.api_keys():
        if state_of(key, now) != "active":
            continue
        for terms in terms_of(key):
            start, end = period(terms.duration, key.created_at, now)
            if (start, end) not in spent:
                spent[start, end] = storage.spend(since=start, until=None if math.isinf(end) else end)
            used = spent[start, end].get(key.id)
            cost = 0.0 if used is None else used.cost if terms.model is None else used.models.get(terms.model, 0.0)
            found.append(
                {
                    "name": f"key {key.name}" + (f", {terms.model}" if terms.model is not None else ""),
                    "period": terms.duration or "for ever",
                    "soft": terms.warns or (key.cheaper_when_spent and terms.model is None),
                    "limit": terms.limit,
                    "spent": cost,
                    "reserved": None,
                    "left": max(terms.limit - cost, 0.0),
                    "ends": None if math.isinf(end) else end,
                    "forecast": None,
                }
            )
    return sorted(
        found, key=lambda each: (-each["spent"] / each["limit"] if each["limit"] else -math.inf, each["name"])
    )
