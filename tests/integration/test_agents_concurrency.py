"""Several processes that tell one database what came of calls lose none of it, and see each other's agents."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tiny_dancer import Agent, AgentRegistry, AgentRouter, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """
import sys
from tiny_dancer import Agent, AgentRegistry, SqliteStorage

path, number = sys.argv[1], int(sys.argv[2])
with SqliteStorage(path) as storage:
    registry = AgentRegistry(storage=storage, half_life_s=None, clock=lambda: 1_790_000_000.0)
    registry.add(Agent(f"worker {number}", quality=0.5, cost_per_call=0.0))
    for turn in range(60):
        registry.observe("shared", quality=0.25, latency_ms=1000, task="sum up" if turn % 2 else None)
        registry.observe(f"worker {number}", success=False)
"""


def test_processes_that_observe_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    with SqliteStorage(path) as storage:
        registry = AgentRegistry(
            [Agent("shared", quality=0.9, cost_per_call=0.0)], storage=storage, half_life_s=None
        )
        workers = [subprocess.Popen([sys.executable, "-c", WORKER, path, str(number)]) for number in range(3)]
        for turn in range(30):
            registry.observe("shared", quality=0.25, at=1_790_000_000.0)
            if turn == 15:
                registry.deactivate("shared")
        assert [worker.wait(120) for worker in workers] == [0, 0, 0]
        assert registry.refresh()
        (shared,) = (record for record in storage.agents() if record.agent.name == "shared")
        state = json.loads(shared.state)
        assert state["outcomes"] == 30 + 3 * 60
        assert state["quality"]["weight"] == 210 and state["quality"]["sum"] == 52.5
        assert state["tasks"]["sum up"]["weight"] == 90
        assert not shared.agent.active
        for number in range(3):
            assert registry.statistics(f"worker {number}")["success_rate"] == 0.0
        choice = AgentRouter(registry).route("x", "quality")
        assert choice.agent == "worker 0" and choice.removed == {"shared": "inactive"}
