"""Budgets of any scope over workers, gateways, kills and restarts: never more is spent than there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.gateway_answers import Behaviour
from tests.integration.gateway.processes import Running
from tests.integration.gateway.test_processes_money import EACH, USED, ask, content, key_of, kill, rows, until

from tiny_dancer.budgets import Budgets, Standing
from tiny_dancer.storage import Budget, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway_upstream import Upstream

# Of which two can be reserved for at once, and, each costing less than was reserved, two be paid.
LIMIT = 0.01


def set_budget(folder: Path, limit: float) -> None:
    with SqliteStorage(folder / "gateway.db", mirror=False) as storage:
        storage.insert_budget(Budget("team", "research", limit=limit, period="day"), replace=True)


def stands(folder: Path) -> Standing:
    with SqliteStorage(folder / "gateway.db", mirror=False) as storage, Budgets(storage) as budgets:
        (found,) = budgets.standings()
        return found


def spent(folder: Path) -> float:
    return sum(each.cost or 0.0 for each in rows(folder) if each.team == "research")


@pytest.mark.parametrize("gateways", [1, 2])
def test_thirty_at_once_spend_no_more_than_the_budget(
    cheap: Upstream, strong: Upstream, tmp_path: Path, gateways: int
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, team="research")
    set_budget(folder, LIMIT)
    cheap.usual = USED
    first = content(cheap, strong, workers=2)
    # Another gateway on the same database, with its own configuration.
    second = {**content(cheap, strong, workers=1), "storage": str(folder / "gateway.db")}
    running = [Running(first, folder)]
    if gateways == 2:
        (tmp_path / "other").mkdir()
        running.append(Running(second, tmp_path / "other"))
    with ThreadPoolExecutor(30) as pool:
        try:
            for each in running:
                each.__enter__()
            answers = list(pool.map(lambda at: ask(running[at % gateways], key), range(30)))
            assert {each.status_code for each in answers} == {200, 429}
            for answer in answers:
                if answer.status_code == 429:
                    assert answer.json()["error"]["type"] == "budget_exceeded"
            until(lambda: all(ask(each, key).status_code == 429 for each in running))
        finally:
            for each in running:
                each.__exit__(None, None, None)
    assert len(cheap.received) == 2
    assert spent(folder) == pytest.approx(2 * EACH)
    found = stands(folder)
    assert found.spent == pytest.approx(2 * EACH)
    assert found.reserved == 0


def test_what_a_killed_worker_had_reserved_is_spent_and_survives_a_restart(
    cheap: Upstream, strong: Upstream, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    key = key_of(folder, team="research")
    set_budget(folder, LIMIT)
    cheap.usual = Behaviour(fault="hang")
    with Running(content(cheap, strong, workers=2), folder) as gateway, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask, gateway, key) for _ in range(6)]
        until(lambda: len(cheap.received) == 2)
        for process in gateway.workers().values():
            kill(process)
        for future in futures:
            with suppress(httpx.HTTPError):
                assert future.result().status_code in (429, 503)
        cheap.usual = USED
        gateway.line("starting another", count=2)
        until(lambda: len(rows(folder)) >= 2 and len(gateway.workers()) == 2)
        # Their upstream may have worked: nothing of it is given away again.
        for _ in range(12):
            assert ask(gateway, key).status_code == 429
        assert len(cheap.received) == 2
    left = [each for each in rows(folder) if each.error == "process_killed"]
    assert [each.team for each in left] == ["research"] * 2
    with Running(content(cheap, strong), folder) as gateway:
        assert ask(gateway, key).status_code == 429
        # Raised while it serves, it pays again.
        set_budget(folder, 1.0)
        until(lambda: ask(gateway, key).status_code == 200)
    found = stands(folder)
    assert found.spent >= spent(folder) - 1e-12
    assert found.spent <= LIMIT + EACH + 1e-12
