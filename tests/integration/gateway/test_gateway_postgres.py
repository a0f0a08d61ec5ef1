"""A gateway whose database is on a PostgreSQL server: keys, budgets, requests, feedback, figures."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.integration.gateway.test_gateway_chains import bearer
from tests.postgres import emptied, server

from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.dashboard.budgets import budgets
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.gateway.serving import Serving

# 30 tokens in and 5 out of the stand-in, at the small model's prices.
COST = 30e-6 + 5 * 2e-6


def test_it_serves_counts_and_remembers(start: Callable[..., Serving]) -> None:
    address = emptied()
    made = make_key("anna", team="research", now=time.time())
    with PostgresStorage(address) as storage:
        storage.insert_api_key(made.key)
        storage.insert_budget(Budget("team", "research", limit=1.0, period="day"))
        storage.insert_budget(Budget("all", limit=1e-9, kind="soft"))
        serving = start(storage=address, access={"keys": "required"})
        assert serving.chat().status_code == 401
        answer = serving.chat(headers=bearer(made), max_tokens=50)
        assert answer.status_code == 200, answer.text
        said = serving.http.post("/feedback", json={"id": answer.json()["id"], "score": 1.0}, headers=bearer(made))
        assert said.status_code < 300, said.text
        # The server restarts while the gateway serves: what was asked meanwhile is written when it is back.
        server().restart(signal.SIGQUIT)
        assert serving.chat(headers=bearer(made), max_tokens=50).status_code == 200
        assert serving.gateway.services.accounting.flush(30)
        records = storage.request_history()
        assert [(each.status, each.key) for each in records[:2]] == [(200, made.key.id)] * 2
        assert storage.spend(since=0)[made.key.id].requests == 2
        assert len(storage.feedback_history()) == 1
        standing = serving.gateway.services.budgets.standings()[1]
        assert standing.budget.id == "team/research/1d" and standing.spent == pytest.approx(2 * COST)
        # Who looks from elsewhere sees at least as much: what the gateway has drawn of the budget.
        team = next(each for each in budgets(storage, time.time()) if each["name"] == "team research")
        assert 2 * COST <= team["spent"] + team["reserved"] + 1e-12 < 0.02
    # What several workers share lies in the configuration's folder, and no password in a file's name.
    assert {each.name for each in serving.folder.iterdir()} <= {"gateway.yaml", "database.unwritten"}
