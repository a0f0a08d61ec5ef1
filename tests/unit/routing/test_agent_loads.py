"""Agents at their limits are not chosen, where whoever calls says what they have to do."""

from __future__ import annotations

import math

import pytest

from tiny_dancer import Agent, AgentLoad, AgentRegistry, AgentRouter
from tiny_dancer.errors import NoSuitableAgentError, OptionError


@pytest.fixture
def router() -> AgentRouter:
    busy = Agent("best", quality=0.9, max_concurrency=2, requests_per_minute=10, tokens_per_minute=1_000)
    return AgentRouter(AgentRegistry([busy, Agent("other", quality=0.5)]))


@pytest.mark.parametrize(
    ("load", "chosen"),
    [
        (AgentLoad(), "best"),
        (AgentLoad(in_flight=1, requests=9, tokens=999), "best"),
        (AgentLoad(in_flight=2), "other"),
        (AgentLoad(requests=10), "other"),
        (AgentLoad(tokens=1_000.5), "other"),
    ],
)
def test_an_agent_at_a_limit_is_not_chosen(router: AgentRouter, load: AgentLoad, chosen: str) -> None:
    assert router.route("hi", "quality", loads={"best": load}).agent == chosen


def test_what_has_no_limit_is_never_at_it(router: AgentRouter) -> None:
    assert router.route("hi", "quality", loads={"other": AgentLoad(in_flight=1e9)}).agent == "best"


def test_the_limit_is_named_where_nobody_is_left(router: AgentRouter) -> None:
    with pytest.raises(NoSuitableAgentError) as caught:
        router.route("hi", "quality", excluded=["other"], loads={"best": AgentLoad(in_flight=2)})
    assert caught.value.removed == {"best": "max_concurrency", "other": "excluded"}


def test_a_load_that_cannot_be_is_refused(router: AgentRouter) -> None:
    for wrong in (-1, math.nan):
        with pytest.raises(OptionError):
            AgentLoad(in_flight=wrong)
    with pytest.raises(OptionError, match="nobody"):
        router.route("hi", loads={"nobody": AgentLoad()})
