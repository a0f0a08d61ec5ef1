"""Agents, for every storage backend."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.contract.requests import DAY, MIDNIGHT

from tiny_dancer.errors import CandidateError, OptionError, StorageError
from tiny_dancer.storage import Agent, AgentOutcome
from tiny_dancer.storage.agents import observed
from tiny_dancer.types import PriceTier

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage

FULL = Agent(
    "Zoë's '); DROP TABLE agent;--",
    type="ensemble",
    description="Answers, in π languages",
    capabilities=("translate", "sum up"),
    examples=("Übersetze das",),
    input_cost_per_1k=0.0025,
    output_cost_per_1k=0.01,
    cached_input_cost_per_1k=0.00125,
    price_tiers=(PriceTier(200_000, 5e-6, 2e-5),),
    cost_per_call=0.001,
    cost_per_second=0.0001,
    output_tokens=300.5,
    latency_s=1.5,
    latency_p99_s=4.0,
    quality=0.8,
    task_quality={"translate": 0.9},
    success_rate=0.99,
    prior_weight=12.0,
    context=128_000,
    max_concurrency=4,
    requests_per_minute=60,
    tokens_per_minute=100_000,
    tags=("gdpr",),
    region="eu",
    members=("bare",),
    metadata={"model": "x", "nested": [1, None]},
    active=False,
    version="2",
)
BARE = Agent("bare")
DAY_LIFE = float(DAY)


def outcome(agent: str = "bare", time: float = MIDNIGHT, **rest: Any) -> AgentOutcome:
    return AgentOutcome(agent, time, **rest)


def test_agents_are_read_back_as_they_were_by_name(storage: Storage) -> None:
    assert storage.agents() == ()
    before = storage.agent_changes()
    storage.insert_agents([BARE, FULL], at=MIDNIGHT)
    assert [record.agent for record in storage.agents()] == [FULL, BARE]
    assert all(record.state == "" and record.updated_at == MIDNIGHT for record in storage.agents())
    assert storage.agent_changes() > before
    assert storage.verify().agents == 2


def test_two_of_one_name_are_refused_and_nothing_is_added(storage: Storage) -> None:
    storage.insert_agents([BARE], at=MIDNIGHT)
    with pytest.raises(CandidateError, match="bare"):
        storage.insert_agents([Agent("new"), BARE], at=MIDNIGHT)
    with pytest.raises(CandidateError, match="two of the name"):
        storage.insert_agents([Agent("new"), Agent("new", quality=0.5)], at=MIDNIGHT)
    assert [record.agent.name for record in storage.agents()] == ["bare"]


def test_a_replaced_agent_keeps_what_was_observed(storage: Storage) -> None:
    storage.insert_agents([BARE], at=MIDNIGHT)
    storage.record_agent_outcome(outcome(quality=0.5), half_life_s=DAY_LIFE)
    storage.insert_agents([replace(BARE, quality=0.9)], at=MIDNIGHT + 5, replace=True)
    (record,) = storage.agents()
    assert record.agent.quality == 0.9 and record.updated_at == MIDNIGHT + 5
    assert observed(record.state)["outcomes"] == 1


def test_agents_are_deleted_and_deactivated(storage: Storage) -> None:
    storage.insert_agents([BARE, FULL], at=MIDNIGHT)
    changes = storage.agent_changes()
    assert storage.set_agent_active("bare", False, at=MIDNIGHT + 1)
    assert not storage.set_agent_active("nobody", False, at=MIDNIGHT + 1)
    assert not storage.agents()[1].agent.active
    assert storage.delete_agent(FULL.name)
    assert not storage.delete_agent(FULL.name)
    assert [record.agent for record in storage.agents()] == [replace(BARE, active=False)]
    assert storage.agent_changes() >= changes + 2


def test_outcomes_fade_by_their_age(storage: Storage) -> None:
    storage.insert_agents([BARE], at=MIDNIGHT)
    storage.record_agent_outcome(outcome(quality=1.0, latency_s=2.0), half_life_s=DAY_LIFE)
    record = storage.record_agent_outcome(
        outcome(time=MIDNIGHT + DAY, quality=0.0, success=True, task="sum up", cost=0.3, expected_cost=0.2),
        half_life_s=DAY_LIFE,
    )
    assert storage.agents() == (record,)
    state = json.loads(record.state)
    assert state["quality"] == {"weight": 1.5, "sum": 0.5, "squares": 0.5}
    assert state["latency"] == {"weight": 0.5, "sum": 1.0, "squares": 2.0}
    found = observed(record.state)
    assert (found["outcomes"], found["quality"]) == (2, pytest.approx(1 / 3))
    assert found["cost_ratio"] == pytest.approx(1.5) and found["cost"] is None
    assert found["tasks"] == {"sum up": 0.0} and found["latency_s"] == 2.0


def test_outcomes_in_any_order_give_the_same_sums(storage: Storage) -> None:
    draw = random.Random(3)
    outcomes = [
        outcome(time=MIDNIGHT + draw.uniform(0, 5 * DAY), quality=draw.random(), cost=draw.random())
        for _ in range(30)
    ]
    storage.insert_agents([BARE, Agent("other")], at=MIDNIGHT)
    for each in outcomes:
        storage.record_agent_outcome(each, half_life_s=DAY_LIFE)
    draw.shuffle(outcomes)
    for each in outcomes:
        storage.record_agent_outcome(replace(each, agent="other"), half_life_s=DAY_LIFE)
    one, two = (json.loads(record.state) for record in storage.agents())
    assert one["at"] == two["at"] and one["outcomes"] == two["outcomes"] == 30
    for name in ("quality", "success", "cost"):
        assert one[name] == pytest.approx(two[name], rel=1e-12)


def test_concurrent_outcomes_are_all_counted(storage: Storage) -> None:
    storage.insert_agents([BARE, Agent("other")], at=MIDNIGHT)

    def tell(worker: int) -> None:
        for turn in range(25):
            agent = "bare" if (worker + turn) % 2 else "other"
            storage.record_agent_outcome(outcome(agent, quality=0.25), half_life_s=None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    for record in storage.agents():
        state = json.loads(record.state)
        assert state["outcomes"] == 50
        assert state["quality"]["weight"] == 50 and state["quality"]["sum"] == 12.5


def test_an_outcome_of_nobody_is_refused(storage: Storage) -> None:
    with pytest.raises(CandidateError, match="nobody"):
        storage.record_agent_outcome(outcome("nobody"), half_life_s=None)
    with pytest.raises(StorageError):
        storage.record_agent_outcome("bare", half_life_s=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"type": "robot"}, "type"),
        ({"capabilities": "sum up"}, "capabilities"),
        ({"capabilities": ("",)}, r"capabilities\[0\]"),
        ({"input_cost_per_1k": -1.0, "output_cost_per_1k": 0.0}, "input_cost_per_1k"),
        ({"cost_per_call": float("nan")}, "cost_per_call"),
        ({"cost_per_second": float("inf")}, "cost_per_second"),
        ({"input_cost_per_1k": 1.0}, "prices"),
        ({"latency_s": 0}, "latency_s"),
        ({"latency_s": 2.0, "latency_p99_s": 1.0}, "latency_p99"),
        ({"latency_p99_s": 1.0}, "latency_p99"),
        ({"quality": 1.5}, "quality"),
        ({"task_quality": {"x": -0.1}}, "task_quality"),
        ({"success_rate": "often"}, "success_rate"),
        ({"prior_weight": 0.0}, "prior_weight"),
        ({"context": 0}, "context"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"members": ("a",)}, "members"),
        ({"type": "ensemble"}, "members"),
        ({"metadata": {"x": object()}}, "metadata"),
        ({"active": "yes"}, "active"),
        ({"price_tiers": ("x",)}, "price_tiers"),
    ],
)
def test_what_no_agent_can_be_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(CandidateError, match=named):
        Agent(**{"name": "a", **change})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quality": 2.0}, "quality"),
        ({"quality": 0.5, "success": False}, "quality"),
        ({"cost": -1.0}, "cost"),
        ({"latency_s": 0}, "latency_s"),
        ({"time": float("nan")}, "time"),
        ({"success": 1}, "success"),
    ],
)
def test_what_cannot_come_of_a_call_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        AgentOutcome(**{"agent": "a", "time": MIDNIGHT, **change})


def test_an_agent_is_read_back_from_json_and_unknown_fields_are_named() -> None:
    assert Agent.from_json(FULL.to_json()) == FULL
    with pytest.raises(CandidateError, match=r"agent\.capabilites: unknown; did you mean capabilities"):
        Agent.from_json('{"name": "a", "capabilites": []}')
    for text in ("[]", "{", '{"quality": 1}'):
        with pytest.raises(CandidateError):
            Agent.from_json(text)
