"""The statements about agents. Those that write run within the writer's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import DEFAULT_HALF_LIFE_S, AgentRecord, by_agent, state_after, with_active

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

    from tiny_dancer.storage.agents import Agent, AgentOutcome

_FIELDS = ", ".join(columns.AGENT)


def insert_agents(connection: apsw.Connection, agents: Sequence[Agent], at: float, *, replace: bool) -> None:
    """Adds agents; those of stored names take their place, or are refused.

    Raises:
        CandidateError: one is stored already, and ``replace`` is false.
    """
    for agent in agents:
        stored = connection.execute("SELECT count(*) FROM agent WHERE name = ?", (agent.name,)).get
        if stored and not replace:
            raise CandidateError("name", agent.name, "it is stored already: replace it, or name it otherwise")
        connection.execute(
            "INSERT INTO agent (name, declared, updated_at) VALUES (?1, ?2, ?3) "
            "ON CONFLICT (name) DO UPDATE SET declared = ?2, updated_at = ?3",
            (agent.name, agent.to_json(), at),
        )
    _count(connection)


def agents(connection: apsw.Connection) -> tuple[AgentRecord, ...]:
    """All agents, by name."""
    rows: list[tuple[Any, ...]] = connection.execute(f"SELECT {_FIELDS} FROM agent ORDER BY name").fetchall()
    return tuple(columns.agent(row) for row in rows)


def delete_agent(connection: apsw.Connection, name: str) -> bool:
    """Removes an agent; false where there is none."""
    connection.execute("DELETE FROM agent WHERE name = ?", (name,))
    found = connection.changes() > 0
    if found:
        _count(connection)
    return found


def set_agent_active(connection: apsw.Connection, name: str, at: float, *, active: bool) -> bool:
    """Says whether an agent may be chosen; false where there is none."""
    found = _stored(connection, name)
    if found is None:
        return False
    agent = with_active(found.agent, active=active)
    connection.execute("UPDATE agent SET declared = ?, updated_at = ? WHERE name = ?", (agent.to_json(), at, name))
    _count(connection)
    return True


def record_outcome(connection: apsw.Connection, outcome: AgentOutcome, half_life_s: float | None) -> AgentRecord:
    """Adds an outcome to the sums of its agent.

    Raises:
        CandidateError: no agent of this name.
    """
    found = _stored(connection, outcome.agent)
    if found is None:
        raise CandidateError("agent", outcome.agent, "add it first")
    state = state_after(found.state, outcome, half_life_s)
    connection.execute("UPDATE agent SET state = ? WHERE name = ?", (state, outcome.agent))
    _count(connection)
    return AgentRecord(found.agent, state, found.updated_at)


def count_outcomes(connection: apsw.Connection, outcomes: Iterable[AgentOutcome]) -> None:
    """Adds outcomes to the sums of those of their agents that are there."""
    changed = False
    for name, listed in by_agent(outcomes).items():
        row = connection.execute("SELECT state FROM agent WHERE name = ?", (name,)).fetchone()
        if row is None:
            continue
        state = row[0] or ""
        for outcome in listed:
            state = state_after(state, outcome, DEFAULT_HALF_LIFE_S)
        connection.execute("UPDATE agent SET state = ? WHERE name = ?", (state, name))
        changed = True
    if changed:
        _count(connection)


def agent_changes(connection: apsw.Connection) -> int:
    """How often agents were written."""
    changes = connection.execute("SELECT changes FROM agent_change").get
    assert isinstance(changes, int)
    return changes


def _stored(connection: apsw.Connection, name: str) -> AgentRecord | None:
    row = connection.execute(f"SELECT {_FIELDS} FROM agent WHERE name = ?", (name,)).fetchone()
    return None if row is None else columns.agent(row)


def _count(connection: apsw.Connection) -> None:
    connection.execute("UPDATE agent_change SET changes = changes + 1")
