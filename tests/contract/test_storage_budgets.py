"""Budgets and their ledger, for every storage backend."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiny_dancer.errors import BudgetError, StorageError
from tiny_dancer.storage import Budget, MemoryStorage
from tiny_dancer.storage.budgets import Draw, Entry

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.storage import Storage

NOW = 1_800_000_000.0
TEAM = Budget("team", "research/'); DROP TABLE budget;--", limit=500, period="month", created_at=NOW)
ALL = Budget("all", limit="12.50 USD", created_at=NOW)
FULL = Budget(
    "tag", "ünï", limit=0.1, period="rolling 30d", kind="soft", starts_at=NOW, ends_at=NOW + 9, created_at=NOW
)


def test_budgets_are_read_back_as_they_were_by_id(storage: Storage) -> None:
    assert storage.budgets() == ()
    before = storage.budget_changes()
    for each in (TEAM, FULL, ALL):
        assert storage.insert_budget(each) == each
    assert storage.budgets() == (ALL, FULL, TEAM)
    assert [each.id for each in storage.budgets()] == [
        "all/ever",
        "tag/ünï/rolling 30d/soft",
        "team/research/'); DROP TABLE budget;--/1mo",
    ]
    assert storage.budget_changes() > before
    assert storage.verify().budgets == 3


def test_a_second_budget_of_one_id_is_refused_or_takes_its_place(storage: Storage) -> None:
    storage.insert_budget(TEAM)
    with pytest.raises(BudgetError, match="scope, subject, period and kind"):
        storage.insert_budget(replace(TEAM, limit=1))
    storage.insert_budget(replace(TEAM, period="1d"))
    storage.insert_budget(replace(TEAM, kind="soft"))
    stored = storage.insert_budget(replace(TEAM, limit=7, created_at=NOW + 99), replace=True)
    assert (stored.limit, stored.created_at) == (7, NOW), "its periods go on as they were"
    assert stored in storage.budgets()


def test_budgets_are_deleted_and_what_was_spent_stays(storage: Storage) -> None:
    storage.insert_budget(TEAM)
    storage.draw_budget(Draw(TEAM.id, 1, 5, 5, 10, 20, 100, 0, 0))
    changes = storage.budget_changes()
    assert storage.delete_budget(TEAM.id)
    assert not storage.delete_budget(TEAM.id)
    assert storage.budgets() == () and storage.budget_changes() == changes + 1
    assert storage.budget_entries() == (Entry(TEAM.id, 5, 1, 20, 0),)


def test_something_else_is_no_budget(storage: Storage) -> None:
    with pytest.raises(BudgetError, match="give a Budget"):
        storage.insert_budget("team")  # type: ignore[arg-type]


def test_draws_of_all_holders_end_at_the_limit(storage: Storage) -> None:
    def draw(holder: int, need: int, goal: int, start: int = 7) -> tuple[int, int]:
        return storage.draw_budget(Draw("b", holder, start, start, need, goal, 100, 0, 0))

    assert draw(1, 10, 40) == (40, 0)
    assert draw(1, 20, 30) == (40, 0), "never less than before"
    assert draw(2, 10, 50) == (50, 40)
    assert draw(2, 70, 90) == (60, 40), "as far as it goes"
    assert draw(3, 1, 1) == (0, 100)
    assert draw(3, 1, 5, start=8) == (5, 0), "another period"
    assert storage.draw_budget(Draw("b", 3, 7, 7, 30, 33, None, 0, 0)) == (33, 100), "nobody limits a soft one"
    assert sum(each.drawn for each in storage.budget_entries("b", since=8)) == 5


def test_a_window_counts_what_others_drew_in_it_and_what_the_holder_spent(storage: Storage) -> None:
    storage.tell_budgets([Entry("b", 1, 2, 5, 5), Entry("b", 3, 2, 10, 1), Entry("b", 3, 1, 50, 8)])
    assert storage.draw_budget(Draw("b", 1, 5, 2, 1, 100, 100, 8, 0)) == (82, 10)
    assert storage.draw_budget(Draw("b", 1, 6, 2, 1, 100, 100, 90, 0)) == (0, 10)
    assert storage.draw_budget(Draw("b", 9, 4, 2, 1, 100, 200, 0, 0)) == (58, 142), "what is later counts too"


def test_old_rows_are_forgotten_when_more_is_drawn(storage: Storage) -> None:
    storage.tell_budgets([Entry("b", start, 2, 5, 5) for start in range(6)] + [Entry("c", 0, 2, 5, 5)])
    storage.draw_budget(Draw("b", 2, 9, 9, 1, 1, 10, 0, 4))
    assert [each[:2] for each in storage.budget_entries()] == [("b", 4), ("b", 5), ("b", 9), ("c", 0)]


def test_what_is_told_adds_and_only_by_word_takes_away(storage: Storage) -> None:
    storage.draw_budget(Draw("b", 1, 5, 5, 10, 20, 100, 0, 0))
    storage.tell_budgets([Entry("b", 5, 1, 12, 11)])
    assert storage.budget_entries(holder=1) == (Entry("b", 5, 1, 20, 11),)
    storage.tell_budgets([Entry("b", 5, 1, 12, 12), Entry("new", 0, 3, 4, 4)], shrink=True)
    assert storage.budget_entries() == (Entry("b", 5, 1, 12, 12), Entry("new", 0, 3, 4, 4))
    storage.tell_budgets([])


def test_draws_at_once_are_exact(storage: Storage) -> None:
    def draws(holder: int) -> int:
        got = 0
        for _ in range(25):
            got = storage.draw_budget(Draw("b", holder, 5, 5, got + 3, got + 3, 250, 0, 0)).drawn
        return got

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(draws, range(8)))
    assert sum(found) == 250
    assert sum(each.drawn for each in storage.budget_entries()) == 250


def test_a_backup_has_them(storage: Storage, tmp_path: Path) -> None:
    if isinstance(storage, MemoryStorage):
        pytest.skip("memory is not backed up")
    storage.insert_budget(TEAM)
    storage.draw_budget(Draw(TEAM.id, 1, 5, 5, 10, 20, 100, 0, 0))
    assert storage.backup(tmp_path / "copy").budgets == 1
    storage.delete_budget(TEAM.id)
    storage.restore(tmp_path / "copy")
    assert storage.budgets() == (TEAM,)


def test_closed_storage_says_so(storage: Storage) -> None:
    storage.close()
    for call in (storage.budgets, storage.budget_changes, storage.budget_entries):
        with pytest.raises(StorageError):
            call()
    with pytest.raises(StorageError):
        storage.insert_budget(TEAM)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"limit": -1}, "limit: -1; give a finite number, 0 or more"),
        ({"limit": math.nan}, "limit: nan; give a finite number"),
        ({"limit": math.inf}, "limit: inf; give a finite number"),
        ({"limit": "12 EUR"}, "limit: '12 EUR'; only USD is accounted: convert EUR to USD"),
        ({"limit": "€5"}, "convert € to USD"),
        ({"limit": "1,000"}, "without commas"),
        ({"limit": "much"}, "give USD as a number"),
        ({"limit": "-3 USD"}, "0 or more"),
        ({"limit": None}, "limit: None"),
        ({"limit": 1e8}, "at most 9,000,000 USD"),
        ({"limit": 1, "currency": "EUR"}, "currency: 'EUR'; only USD is accounted"),
        ({"limit": 1, "currency": None}, "only USD"),
        ({"scope": "taem", "limit": 1}, "did you mean team?"),
        ({"scope": 7, "limit": 1}, "The scopes are key, user"),
        ({"subject": "", "limit": 1}, "name the team it is for"),
        ({"scope": "all", "limit": 1}, "a budget of everything has none"),
        ({"subject": "a\0", "limit": 1}, "NUL"),
        ({"limit": 1, "period": "fortnight"}, "period: 'fortnight'; give day, week"),
        ({"limit": 1, "period": "rolling month"}, "'rolling 30d'"),
        ({"limit": 1, "period": "rolling 29s"}, "30s or more"),
        ({"limit": 1, "period": "0d"}, "period"),
        ({"limit": 1, "period": 30}, "period"),
        ({"limit": 1, "kind": "firm"}, "The kinds are hard, soft"),
        ({"limit": 1, "starts_at": NOW + 5, "ends_at": NOW + 5}, "08:00:05 UTC, not after starts_at"),
        ({"limit": 1, "ends_at": NOW}, "ends_at: 2027-01-15 08:00:00 UTC, in the past; give an end to come"),
        ({"limit": 1, "ends_at": math.nan}, "ends_at"),
        ({"limit": 1, "starts_at": "soon"}, "starts_at"),
    ],
)
def test_what_cannot_be_is_refused_by_field_value_and_remedy(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(BudgetError) as caught:
        Budget(**{"scope": "team", "subject": "a", "created_at": NOW} | fields)
    assert says in str(caught.value)


def test_amounts_and_periods_have_one_spelling() -> None:
    assert [
        Budget("all", limit=each).limit
        for each in (5, "5", "5 USD", "$5", "US$ 5", "5.0usd", "5e0", Decimal(5), np.float32(5))
    ] == [5.0] * 9
    periods = ["day", "Week", "month", "year", "30d", "rolling 24h", "Rolling day", None]
    assert [Budget("all", limit=1, period=each).period for each in periods] == [
        "1d",
        "1w",
        "1mo",
        "12mo",
        "30d",
        "rolling 24h",
        "rolling 1d",
        None,
    ]
