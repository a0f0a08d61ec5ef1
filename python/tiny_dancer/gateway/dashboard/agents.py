"""The agents of the registry, and what was observed of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def agents(storage: Storage) -> list[dict[str, Any]]:
    """Every agent, by name, as JSON values."""
    if not storage.agents():
        return []
    # Late: it loads the engine, and a supervisor does without.
    from tiny_dancer.routing.agents import AgentRegistry

    registry = AgentRegistry(storage=storage)
    found = []
    for agent in sorted(registry.agents, key=lambda each: each.name):
        seen = registry.statistics(agent.name)
        found.append(
            {
                "name": agent.name,
                "type": agent.type,
                "active": agent.active,
                "outcomes": seen["outcomes"],
                "success": seen["success_rate"],
                "quality": seen["quality"],
                "latency": seen["latency_s"],
            }
        )
    return found
