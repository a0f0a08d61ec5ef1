"""Budgets, what of them is spent and reserved, and when they run out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tiny_dancer.gateway.access.budgets import terms_of
from tiny_dancer.gateway.access.keys import state_of
from tiny_dancer.storage.opening import reopened
from tiny_dancer.storage.periods import period

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.budgets import Standing
    from tiny_dancer.storage.opening import Database


def budgets(storage: Database, now: float) -> list[dict[str, Any]]:
    """Budgets in force, of any scope and of keys that still serve, the fullest first.

    What is reserved is known for budgets of any scope; of a key's own the workers know it alone.
    """
    keys = storage.api_keys()
    names = {key.id: key.name for key in keys}
    found = [*(_of_scope(each, names) for each in _standings(storage, now)), *_of_keys(storage, now)]
    return sorted(found, key=lambda each: (-_share(each), each["name"]))


def forecasts(storage: Database, now: float) -> dict[str, dict[str, Any]]:
    """When the budgets of any scope run out, by their ids."""
    listed = [each for each in storage.budgets() if each.in_force(now)]
    if not listed:
        return {}
    # Late: it brings what fits the history, and most databases have no budgets.
    from tiny_dancer.spending import forecast_budget

    found = {}
    for each in listed:
        said = forecast_budget(storage, each, now=now)
        found[each.id] = {
            "unknown": said.unknown,
            "probability": said.probability,
            "runs_out": said.runs_out,
            "earliest": said.earliest,
            "latest": said.latest,
            "until": said.until,
            "level": said.level,
        }
    return found


def _standings(storage: Database, now: float) -> tuple[Standing, ...]:
    """How the budgets of any scope stand, by the table that all processes reserve in."""
    if not storage.budgets():
        return ()
    from tiny_dancer.budgets import Budgets

    # Who looks at the table has a seat there, as `tiny-dancer budget status`; a database opened to read has none.
    with reopened(storage) as own, Budgets(own, clock=lambda: now) as kept:
        return kept.standings()


def _of_scope(standing: Standing, names: Mapping[str, str]) -> dict[str, Any]:
    budget = standing.budget
    subject = names.get(budget.subject, budget.subject) if budget.scope == "key" else budget.subject
    return {
        "id": budget.id,
        "name": f"{budget.scope} {subject}" if subject else "everything",
        "period": budget.period or "for ever",
        "soft": budget.kind == "soft",
        "limit": budget.limit,
        "spent": standing.spent,
        "reserved": standing.reserved,
        "left": standing.left,
        "ends": None if math.isinf(standing.end) else standing.end,
    }


def _of_keys(storage: Database, now: float) -> list[dict[str, Any]]:
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
            cost = 0.0
            if used is not None:
                cost = used.cost if terms.model is None else used.models.get(terms.model, 0.0)
            found.append(
                {
                    "id": None,
                    "name": f"key {key.name}" + (f", {terms.model}" if terms.model is not None else ""),
                    "period": terms.duration or "for ever",
                    "soft": terms.warns or (key.cheaper_when_spent and terms.model is None),
                    "limit": terms.limit,
                    "spent": cost,
                    "reserved": None,
                    "left": max(terms.limit - cost, 0.0),
                    "ends": None if math.isinf(end) else end,
                }
            )
    return found


def _share(budget: Mapping[str, Any]) -> float:
    share: float = budget["spent"] / budget["limit"] if budget["limit"] else math.inf
    return share
