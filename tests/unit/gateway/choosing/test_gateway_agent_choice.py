"""Agents of the registry in a gateway: names, targets, and who sees and reaches whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import CHEAP, caller, configured, model, opened, plan, refused

from tiny_dancer.errors import ConfigError
from tiny_dancer.storage import Agent, AgentRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiny_dancer.gateway.choosing.serving import Serving


def records(*agents: Agent) -> list[AgentRecord]:
    return [AgentRecord(agent, "", 0.0) for agent in agents]


@pytest.fixture
def serving() -> Iterator[Callable[..., Serving]]:
    made: list[Serving] = []

    def make(*agents: Agent, **more: Any) -> Serving:
        found = opened(**more)
        made.append(found)
        return found.with_agents(records(*agents))

    yield make
    for each in made:
        each.close()


def test_an_agent_leads_to_the_model_of_its_name_of_its_metadata_or_of_the_configuration(
    serving: Callable[..., Serving],
) -> None:
    found = serving(
        Agent("small"),
        Agent("writer", metadata={"model": "large"}),
        Agent("poet"),
        agents={"targets": {"poet": "router-default"}},
    )
    assert [each.name for each in plan(found, model="agent-small").models()] == ["small"]
    written = plan(found, model="agent-writer")
    assert (written.model.name, written.agent_of(written.model), written.routed_by) == (
        "large",
        "writer",
        "client",
    )
    routed = plan(found, model="agent-poet")
    assert (routed.router, routed.agent_of(routed.model)) == ("default", "poet")


def test_an_agent_never_brings_an_address(serving: Callable[..., Serving]) -> None:
    hostile = Agent("refunds", type="api", metadata={"url": "http://169.254.169.254/latest", "model": "http://x"})
    found = serving(hostile)
    error = refused(found, model="agent-refunds")
    assert (error.status, error.code) == (404, "agent_not_available")
    assert "agents.targets.refunds" in error.message
    assert not any("169.254" in str(each) for each in (error.message, found.agents.notes()))


def test_deactivated_agents_and_unknown_ones_are_told_apart(serving: Callable[..., Serving]) -> None:
    found = serving(Agent("small", active=False), Agent("large"))
    assert "it is deactivated" in refused(found, model="agent-small").message
    assert "did you mean agent-large" in refused(found, model="agent-larg").message
    assert found.agents.notes() == []


def test_a_key_reaches_through_agents_only_what_it_may(serving: Callable[..., Serving]) -> None:
    found = serving(Agent("writer", metadata={"model": "large"}))
    error = refused(found, model="agent-writer", who=caller(["small"]))
    assert (error.status, error.code) == (403, "model_not_allowed")


def test_agents_may_follow_be_pinned_and_be_excluded(serving: Callable[..., Serving]) -> None:
    found = serving(Agent("writer", metadata={"model": "large"}), Agent("ünïcode/ö", metadata={"model": "small"}))
    both = plan(found, model="agent-ünïcode/ö", models=["agent-writer"])
    assert [(each.name, both.agent_of(each)) for each in both.models()] == [
        ("small", "ünïcode/ö"),
        ("large", "writer"),
    ]
    assert plan(found, td={"pin": "agent-writer"}).model.name == "large"
    assert plan(found, td={"exclude": ["agent-writer"]}).model.name == "small"


def test_ensembles_and_chains_in_a_circle_cannot_be_asked(serving: Callable[..., Serving]) -> None:
    chains = {"people": {"default": "agent-anna"}}
    found = serving(
        Agent("anna", type="human"),
        Agent("one", type="ensemble", members=("two",)),
        Agent("two", type="ensemble", members=("one",)),
        chains=chains,
        agents={"targets": {"anna": "chain-people"}},
    )
    assert set(found.agents.lost) == {"anna", "one", "two"}
    assert "in a circle" in refused(found, model="agent-anna").message
    assert "in a circle" in found.agents.notes()[0]


def test_what_an_agent_does_not_say_of_prices_is_its_models(serving: Callable[..., Serving]) -> None:
    found = serving(Agent("small"), Agent("writer", metadata={"model": "large"}, cost_per_call=0.5))
    registry = found.agents.registry
    assert registry["small"].input_cost_per_1k == pytest.approx(1000 * CHEAP["input_cost_per_token"])
    assert (registry["writer"].input_cost_per_1k, registry["writer"].cost_per_call) == (None, 0.5)


def test_no_model_may_be_called_as_agents_are() -> None:
    with pytest.raises(ConfigError, match="agent-"):
        configured(models={"agent-small": model(**CHEAP)}, routers={})


def test_a_group_may_not_be_called_as_a_router_or_a_policy() -> None:
    for name in ("default", "cost"):
        with pytest.raises(ConfigError, match=f"agents.groups.{name}"):
            configured(agents={"groups": {name: {}}})
