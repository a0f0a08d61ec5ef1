"""The statements about agents. Those that write run within a transaction. Triggers count changes, whoever writes.

Who writes several locks them in the order of their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import CandidateError
from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import DEFAULT_HALF_LIFE_S, AgentRecord, by_agent, state_after, with_active

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

    from tiny_dancer.storage.agents import Agent, AgentOutcome

_FIELDS = ", ".join(columns.AGENT)


def insert_agents(
    connection: psycopg.Connection[Any], agents: Sequence[Agent], at: float, *, replace: bool
) -> None:
    """Adds agents; those of stored names take their place, or are refused.

    Raises:
        CandidateError: one is stored already, and ``replace`` is false.
    """
    conflict = (
        "UPDATE SET declared = excluded.declared, updated_at = excluded.updated_at" if replace else "NOTHING"
    )
    added = connection.execute(
        "INSERT INTO tiny_dancer.agent (name, declared, updated_at) SELECT name, declared::json, %s "
        f'FROM unnest(%s::text[], %s::text[]) AS new (name, declared) ORDER BY name COLLATE "C" '
        f"ON CONFLICT (name) DO {conflict} RETURNING name",
        (at, [agent.name for agent in agents], [agent.to_json() for agent in agents]),
    )
    names = {name for (name,) in added}
    for agent in agents:
        if agent.name not in names:
            raise CandidateError("name", agent.name, "it is stored already: replace it, or name it otherwise")


def agents(connection: psycopg.Connection[Any]) -> tuple[AgentRecord, ...]:
    """All agents, by name."""
    rows = connection.execute(f"SELECT {_FIELDS} FROM tiny_dancer.agent ORDER BY name", binary=True)
    return tuple(columns.agent(row) for row in rows)


def delete_agent(connection: psycopg.Connection[Any], name: str) -> bool:
    """Removes an agent; false where there is none."""
    return connection.execute("DELETE FROM tiny_dancer.agent WHERE name = %s", (name,)).rowcount > 0


def set_agent_active(connection: psycopg.Connection[Any], name: str, at: float, *, active: bool) -> bool:
    """Says whether an agent may be chosen; false where there is none."""
    found = _locked(connection, name)
    if found is None:
        return False
    agent = with_active(found.agent, active=active)
    connection.execute(
        "UPDATE tiny_dancer.agent SET declared = %s, updated_at = %s WHERE name = %s", (agent.to_json(), at, name)
    )
    return True


def record_outcome(
    connection: psycopg.Connection[Any], outcome: AgentOutcome, half_life_s: float | None
) -> AgentRecord:
    """Adds an outcome to the sums of its agent.

    Raises:
        CandidateError: no agent of this name.
    """
    found = _locked(connection, outcome.agent)
    if found is None:
        raise CandidateError("agent", outcome.agent, "add it first")
    state = state_after(found.state, outcome, half_life_s)
    connection.execute("UPDATE tiny_dancer.agent SET state = %s WHERE name = %s", (state, outcome.agent))
    return AgentRecord(found.agent, state, found.updated_at)


def count_outcomes(connection: psycopg.Connection[Any], outcomes: Iterable[AgentOutcome]) -> None:
    """Adds outcomes to the sums of those of their agents that are there."""
    listed = by_agent(outcomes)
    if not listed:
        return
    rows = connection.execute(
        "SELECT name, state FROM tiny_dancer.agent WHERE name = ANY (%s::text[]) ORDER BY name FOR UPDATE",
        (list(listed),),
        binary=True,
    )
    states: dict[str, str] = {}
    for name, state in rows:
        states[name] = state or ""
        for outcome in listed[name]:
            states[name] = state_after(states[name], outcome, DEFAULT_HALF_LIFE_S)
    if states:
        connection.execute(
            "UPDATE tiny_dancer.agent SET state = new.state::json "
            "FROM unnest(%s::text[], %s::text[]) AS new (name, state) WHERE agent.name = new.name",
            (list(states), list(states.values())),
        )


def agent_changes(connection: psycopg.Connection[Any]) -> int:
    """How often agents were written."""
    return table_changes(connection, "agent")


def table_changes(connection: psycopg.Connection[Any], table: str) -> int:
    """How often a table was written: ``agent`` or ``budget``."""
    row = connection.execute("SELECT changes FROM tiny_dancer.table_change WHERE name = %s", (table,)).fetchone()
    assert row is not None
    changes: int = row[0]
    return changes


def _locked(connection: psycopg.Connection[Any], name: str) -> AgentRecord | None:
    row = connection.execute(
        f"SELECT {_FIELDS} FROM tiny_dancer.agent WHERE name = %s FOR UPDATE", (name,), binary=True
    ).fetchone()
    return None if row is None else columns.agent(row)
