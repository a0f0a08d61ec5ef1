"""`tiny-dancer budget forecast` and `budget optimize`, as a user runs them, on a database a gateway would have
written."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.commands import done, fails, run
from tests.contract.requests import api_key, request

from tiny_dancer.storage import Budget, Feedback, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("budget") / "gateway.db"
    rng = np.random.default_rng(0)
    now = time.time()
    records = []
    with SqliteStorage(path, mirror=False) as storage:
        storage.insert_api_key(api_key("k1", name="web shop"))
        for number in range(800):
            moment = now - 40 * DAY + number * DAY / 20
            model = "small" if rng.random() < 0.6 else "large"
            truth = {"small": 0.6, "large": 0.9}
            records.append(
                request(
                    f"r{number}",
                    moment,
                    key="k1",
                    model=model,
                    decision_id=f"d{number}",
                    cost=0.01 if model == "small" else 0.2,
                    latency=0.4 if model == "small" else 2.0,
                )
            )
            if number % 4 == 0:
                storage.record_feedback(Feedback(f"d{number}", float(rng.random() < truth[model]), time=moment))
        storage.record_requests(records)
        storage.insert_budget(Budget("key", "k1", limit=2000.0, period="month", created_at=now - 90 * DAY))
        storage.insert_budget(Budget("all", limit=0.5, period="rolling 30d", created_at=now - 90 * DAY))
    return path


def test_when_budgets_run_out(database: Path) -> None:
    said = done("budget", "forecast", "--database", database)
    assert "key=web shop: will not run out: runs out by " in said and "probability below 1 %" in said
    assert "all: has run out: " in said and "of 0.5 USD spent" in said
    both = json.loads(done("budget", "forecast", "--database", database, "--json"))
    assert [each["scope"] for each in both] == ["all", "key"]
    one = json.loads(done("budget", "forecast", "key=web shop", "--database", database, "--json"))[0]
    assert one["subject"] == "k1" and one["probability"] == 0 and one["runs_out"] is None
    assert one["spent_then"]["low"] <= one["spent_then"]["estimate"] <= one["spent_then"]["high"]
    assert one["days_of_history"] > 39 and one["unknown"] is None


def test_what_if_there_were_a_budget(database: Path) -> None:
    words = ("budget", "forecast", "all", "--limit", "40 USD", "--period", "30d", "--database", database)
    found = json.loads(done(*words, "--json"))[0]
    assert found["limit"] == 40 and found["period"] == "30d"
    assert found["probability"] > 0.6 and found["earliest"] < found["runs_out"]
    assert "interval" in done(*words)


def test_a_short_history_is_said(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "new.db", mirror=False) as storage:
        storage.insert_budget(Budget("all", limit=5.0, period="month"))
        storage.record_requests([request("one", time.time() - 3 * DAY, model="small", cost=1.0)])
    said = done("budget", "forecast", "--database", tmp_path / "new.db")
    assert "not enough history: needs 14 days, has 2" in said or "needs 14 days, has 3" in said


def test_a_plan_is_shown_with_what_it_rests_on(database: Path) -> None:
    words = ("budget", "optimize", "60", "--database", database)
    said = done(*words, "--dealt", "small=.6", "--dealt", "large=.4")
    rows = [line.split() for line in said.splitlines()]
    large = next(row for row in rows if row[:1] == ["large"])
    assert large[1].endswith("%") and "outcomes" in large
    assert "what other budgets buy" in said
    assert "replayed over 599 requests" in said or "replayed over 600 requests" in said
    assert "one USD more a month would bring" in said
    found = json.loads(done(*words, "--json"))
    shares = {each["agent"]: each["share"] for each in found["allocation"]["agents"]}
    assert sum(shares.values()) == pytest.approx(1) and 0.3 < shares["large"] < 0.7
    assert "not known: agents were chosen" in done(*words)


def test_a_budget_that_is_not_enough_is_an_answer_and_a_failure(database: Path) -> None:
    finished = run("budget", "optimize", "20", "--quality", "0.85", "--database", database)
    assert finished.returncode == 1
    assert "NOT ENOUGH for a mean quality of 0.85: 20 USD reach at best 0." in finished.stdout.decode()
    assert "are the least that suffice" in finished.stdout.decode()
    assert "a mean quality of 0.7 needs" in done(
        "budget", "optimize", "100", "--quality", "0.7", "--database", database
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("forecast", "tem=research"), "did you mean team"),
        (("optimize", "0"), "monthly_budget: 0 USD for about"),
        (("optimize", "12 EUR"), "only USD is accounted"),
        (("optimize", "nan"), "monthly_budget"),
        (("optimize", "60", "--quality", "0.99"), "at most: ask for less"),
        (("optimize", "60", "--latency-ms", "100"), "small: latency: 400 ms on average"),
        (("optimize", "60", "--latency-ms", "0"), "latency_threshold_ms: 0.0; give a time above 0"),
        (("optimize", "60", "--dealt", "small"), "give NAME=CHANCE"),
        (("optimize", "60", "--days", "-3"), "give days above 0"),
        (("optimize", "60", "--only", "key=nobody"), "nobody"),
        (("forecast", "team=nobody"), "there is none: set one, or give --limit"),
        (("forecast", "--period", "month"), "give the limit of a budget"),
        (("forecast", "all", "--limit", "-5"), "limit"),
        (("forecast", "--level", "1.5"), "give a level"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(database: Path, words: tuple[str, ...], named: str) -> None:
    assert named in fails(2, "budget", *words, "--database", database)
