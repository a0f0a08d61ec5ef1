"""What removed whom, as a request's record says it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import CHEAP, DEAR, HARD, caller, model, open_pair, opened, plan, refused

from tiny_dancer.gateway.choosing.removed import MOST, MOST_CHARACTERS, bounded
from tiny_dancer.storage import Agent, AgentRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving


@pytest.fixture(scope="module")
def pair() -> Iterator[Serving]:
    found = open_pair()
    yield found
    found.close()


@pytest.mark.parametrize(
    ("fields", "removed"),
    [
        ({}, {}),
        ({"td": {"max_cost": 0.002}}, {"large": "max_cost"}),
        ({"td": {"exclude": ["large"]}}, {"large": "excluded"}),
        ({"provider": {"max_price": {"prompt": 2}}}, {"large": "provider.max_price"}),
        ({"provider": {"ignore": ["there"]}}, {}),
    ],
)
def test_a_router_says_what_removed_whom(pair: Serving, fields: dict[str, Any], removed: dict[str, str]) -> None:
    assert plan(pair, HARD, **fields).removed({}) == removed


def test_the_key_and_its_budget_remove_too(pair: Serving) -> None:
    assert plan(pair, HARD, who=caller(["small"])).removed({}) == {"large": "not_for_this_key"}
    poor = plan(pair, HARD, who=caller(soft_budget_spent=True))
    assert poor.removed({}) == {"large": "budget_remaining"}


def test_what_was_found_when_it_came_to_asking_is_added(pair: Serving) -> None:
    found = plan(pair, HARD, who=caller(["small"]))
    assert found.removed({"small": "breaker"}) == {"large": "not_for_this_key", "small": "breaker"}


def test_who_is_left_with_nobody_learns_what_removed_each(pair: Serving) -> None:
    error = refused(pair, HARD, who=caller(["other"]))
    assert error.removed == {"small": "not_for_this_key", "large": "not_for_this_key"}


def test_a_model_that_cannot_embed_or_is_not_there_says_so() -> None:
    models = {"small": model(**CHEAP), "large": model(**DEAR, roles=["edit"])}
    with closing(opened(models=models)) as serving:
        assert plan(serving, HARD).removed({}) == {"large": "endpoint"}


def test_a_group_names_its_agents_and_their_limits() -> None:
    with closing(opened(agents={"groups": {"two": {"agents": ["quick", "deep"]}}})) as serving:
        agents = (
            Agent("quick", quality=0.6, metadata={"model": "small"}),
            Agent("deep", quality=0.9, max_concurrency=1, metadata={"model": "large"}),
            Agent("stranger", quality=0.99, metadata={"model": "small"}),
        )
        found = serving.with_agents([AgentRecord(each, "", 0.0) for each in agents])
        assert plan(found, model="router-two-quality").removed({}) == {}, "who is of no group was not removed"
        limited = found.agents.limited["deep"]
        limited.enter()
        busy = plan(found, model="router-two-quality")
        assert busy.agent_of(busy.model) == "quick"
        assert busy.removed({}) == {"agent-deep": "max_concurrency"}
        limited.leave()
        only = plan(found, model="router-two-quality", who=caller(["small"]))
        assert only.removed({}) == {"agent-deep": "not_for_this_key"}
        nobody = refused(found, model="router-two-quality", td={"min_quality": 0.999})
        assert nobody.removed == {"agent-quick": "min_quality", "agent-deep": "min_quality"}


def test_it_is_bounded_and_says_what_is_cut() -> None:
    many = {f"model-{number}": "max_cost" for number in range(MOST + 8)}
    found = bounded(many)
    assert list(found) == [*list(many)[:MOST], ""] and found[""] == "and 8 more"
    assert bounded(dict(list(many.items())[:MOST])) == dict(list(many.items())[:MOST])
    (long,) = bounded({"x" * 1_000: "provider." + "y" * 1_000}).items()
    assert all(len(each) == MOST_CHARACTERS and each.endswith("…") for each in long)
