"""`tiny-dancer budget`, as a user runs it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, fails
from tests.contract.requests import request

from tiny_dancer.budgets import Budgets
from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    done("keys", "create", "ada", "--team", "research", "--user", "ada", "--database", path, "--create")
    return path


def test_budgets_are_set_shown_and_removed(database: Path) -> None:
    said = done("budget", "set", "team=research", "12.50 USD", "--period", "month", "--database", database)
    assert "team=research may spend 12.5 USD per 1mo (hard)" in said
    done("budget", "set", "team=research", "10", "--period", "month", "--soft", "--database", database)
    done("budget", "set", "all", "100", "--period", "rolling 30d", "--database", database)
    made = json.loads(done("budget", "set", "key=ada", "1", "--database", database, "--json"))
    with SqliteStorage(database) as storage:
        (key,) = storage.api_keys()
        assert made == {
            "id": f"key/{key.id}/ever",
            "limit": 1.0,
            "period": None,
            "kind": "hard",
            "starts": None,
            "ends": None,
            "spent_before": 0.0,
            "replaces": None,
        }
        with Budgets(storage) as budgets:
            budgets.charge(0.25, key=key.id, team="research")
            hold = budgets.reserve(2.0, team="research")
            rows = json.loads(done("budget", "status", "--database", database, "--json"))
            hold.release()
    found = {row["id"]: (row["spent"], row["reserved"], row["left"]) for row in rows}
    assert found == {
        "all/rolling 30d": (0.25, 2.0, 97.75),
        f"key/{key.id}/ever": (0.25, 0.0, 0.75),
        "team/research/1mo": (0.25, 2.0, 10.25),
        "team/research/1mo/soft": (0.25, 2.0, 7.75),
    }
    by_id = {row["id"]: row for row in rows}
    assert by_id[f"key/{key.id}/ever"]["name"] == "ada"
    assert by_id[f"key/{key.id}/ever"]["starts_anew"] is None
    assert by_id["team/research/1mo"]["starts_anew"].endswith("-01T00:00:00Z")
    table = done("budget", "status", "--database", database)
    assert "key=ada" in table and "rolling 30d" in table and "soft" in table
    assert "team=research" not in done("budget", "status", "key=ada", "--database", database)
    assert len(json.loads(done("budget", "status", "team=research", "--database", database, "--json"))) == 2

    # In its place, with what was spent of it.
    said = done("budget", "set", "team=research", 20, "--period", "1mo", "--database", database)
    assert "before 12.5 USD (hard)" in said
    rows = json.loads(done("budget", "status", "team", "--database", database, "--json"))
    assert [(row["limit"], row["spent"]) for row in rows] == [(20.0, 0.25), (10.0, 0.25)]
    assert "the hard budget" in done("budget", "remove", "team=research", "--database", database)
    assert "the soft budget" in done("budget", "remove", "team=research", "--soft", "--database", database)
    done("budget", "remove", "key=ada", "--database", database)
    done("budget", "remove", "all", "--database", database)
    assert "no budgets in force" in done("budget", "status", "--database", database)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "teem=research", "5"), "did you mean team?"),
        (("set", "team", "5"), "name the team it is for"),
        (("set", "all=x", "5"), "leave it out"),
        (("set", "team=research", "1e9"), "at most 9,000,000"),
        (("set", "team=research", "nan"), "USD"),
        (("set", "team=research", "5 EUR"), "convert EUR to USD"),
        (("set", "team=research", "5", "--period", "fortnight"), "day, week, month"),
        (("set", "team=research", "5", "--ends", "2020-01-01"), "in the past"),
        (("set", "team=research", "5", "--starts", "2030-01-01", "--ends", "2029-01-01"), "after"),
        (("set", "key=nobody", "5"), "nobody"),
        (("remove", "team=reserch"), "did you mean team=research?"),
        (("remove", "team=research", "--period", "week"), "none of this period"),
        (("status", "tag=none"), "there is none in force"),
        (("status", "teams"), "did you mean team?"),
    ],
)
def test_what_cannot_be_is_refused(database: Path, words: tuple[str, ...], said: str) -> None:
    done("budget", "set", "team=research", "5", "--period", "day", "--database", database)
    assert said in fails(2, "budget", *words, "--database", database)


def test_what_the_log_says_was_spent_in_the_period_counts(database: Path) -> None:
    now = time.time()
    with SqliteStorage(database) as storage:
        (key,) = storage.api_keys()
        storage.record_requests(
            [
                request("1", now - 40 * 86_400, key=key.id, team="research", cost=100.0),
                request("2", now - 1.0, key=key.id, team="research", cost=0.5, model="small", tags=("eu",)),
                request("3", now - 0.5, key=key.id, team="research", cost=0.25, model="large"),
                request("4", now - 0.5, team="web", cost=7.0, model="large"),
            ]
        )

    def spent(*words: str) -> float:
        rows = json.loads(done("budget", "status", *words, "--database", database, "--json"))
        return sum(row["spent"] for row in rows)

    said = done("budget", "set", "team=research", "10", "--period", "rolling 30d", "--database", database)
    assert "0.75 USD of it are spent by the log" in said
    for target, usd in (("model=large", 7.25), ("tag=eu", 0.5), ("key=ada", 100.75), ("all", 107.75)):
        done("budget", "set", target, "1000", "--database", database)
        assert spent(target) == pytest.approx(usd)
    assert spent("team=research") == pytest.approx(0.75)
    # From now on, where that is said; set again, it is not counted twice.
    assert "by the log" not in done("budget", "set", "team=web", "9", "--starts", "now", "--database", database)
    done("budget", "remove", "tag=eu", "--database", database)
    done("budget", "set", "tag=eu", "1000", "--database", database)
    assert spent("tag=eu") == pytest.approx(0.5)


def test_a_budget_to_choose_among_several_is_named_by_its_period(database: Path) -> None:
    for period in ("day", "month"):
        done("budget", "set", "team=research", "5", "--period", period, "--database", database)
    assert "say which by --period: 1d (hard), 1mo (hard)" in fails(
        2, "budget", "remove", "team=research", "--database", database
    )
    done("budget", "remove", "team=research", "--period", "day", "--database", database)
    done("budget", "remove", "team=research", "--database", database)


def test_a_database_is_made_only_where_that_is_said(tmp_path: Path) -> None:
    assert "no such file" in fails(2, "budget", "set", "all", "5", "--database", tmp_path / "none.db")
    done("budget", "set", "all", "5", "--database", tmp_path / "new.db", "--create")
    fails(2, "budget", "status", "--database", tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_names_of_models_are_compared_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "storage: gateway.db\n"
        "upstreams: {one: {base_url: 'http://127.0.0.1:1/v1'}}\n"
        "models: {small: {deployments: [{upstream: one, model: x}]}}\n"
    )
    assert "the gateway has no such model; it has small" in fails(
        2, "budget", "set", "model=smal", "5", cwd=tmp_path
    )
    done("budget", "set", "model=small", "5", cwd=tmp_path)
