"""Groups of agents whose quality on a request is what a trained router expects of the models they lead to."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import CHEAP, DEAR, EASY, HARD, model, opened, plan, refused

from tiny_dancer.errors import ConfigError
from tiny_dancer.storage import Agent, AgentRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving

MODELS = {"small": model(**CHEAP), "large": model(**DEAR), "other": model(**CHEAP)}
# The registry believes the opposite of what the router does.
QUICK = Agent("quick", quality=0.99, prior_weight=1e4, metadata={"model": "small"})
DEEP = Agent("deep", quality=0.01, prior_weight=1e4, metadata={"model": "large"})
OTHER = Agent("other", quality=0.3, prior_weight=1e4)
BOTH = {"agents": ["quick", "deep"]}


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    groups = {"told": {**BOTH, "router": "default"}, "own": BOTH, "all": {"router": "default"}}
    with closing(opened(models=MODELS, agents={"groups": groups})) as made:
        yield made.with_agents([AgentRecord(each, "", 0.0) for each in (QUICK, DEEP, OTHER)])


def scores(serving: Serving, text: str) -> dict[str, float]:
    router = serving.routers["default"].variants[0].router
    return dict(router.route([{"role": "user", "content": text}]).scores)


@pytest.mark.parametrize("text", [EASY, HARD])
def test_the_routers_expectation_counts_for_agents_that_lead_to_its_models(serving: Serving, text: str) -> None:
    known = scores(serving, text)
    best = max(known, key=lambda name: known[name])
    found = plan(serving, text, model="router-told-quality")
    assert found.model.name == best
    assert found.picked is not None
    assert found.picked.choice.quality == pytest.approx(known[best], abs=1e-6)
    assert found.picked.choice.quality_interval is None
    assert plan(serving, text, model="router-own-quality").model.name == "small", "else the registry's"


def test_it_is_of_each_request(serving: Serving) -> None:
    def expected(text: str) -> float:
        found = plan(serving, text, model="router-told-cost", td={"exclude": ["agent-deep"]})
        assert found.picked is not None
        return found.picked.choice.quality

    assert expected(EASY) == pytest.approx(scores(serving, EASY)["small"], abs=1e-6)
    assert expected(EASY) != expected(HARD)


def test_who_the_router_does_not_know_keeps_what_the_registry_believes(serving: Serving) -> None:
    found = plan(serving, model="router-all-quality", td={"exclude": ["agent-deep", "agent-quick"]})
    assert found.picked is not None and found.picked.agent == "other"
    assert found.picked.choice.quality == pytest.approx(0.3, abs=1e-3)
    assert found.picked.choice.quality_interval is not None


def test_what_the_router_cannot_judge_is_the_registrys(serving: Serving) -> None:
    image: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    found = plan(serving, image, model="router-told-quality")
    assert found.picked is not None and found.picked.agent == "quick"
    assert found.picked.choice.quality_interval is not None


def test_a_bound_on_quality_is_met_by_what_the_router_expects(serving: Serving) -> None:
    known = scores(serving, HARD)
    between = sum(known.values()) / 2
    best, worst = sorted(("small", "large"), key=lambda name: -known[name])
    agents = {"small": "quick", "large": "deep"}
    found = plan(serving, HARD, model="router-told-quality", td={"min_quality": between})
    assert found.model.name == best
    assert found.removed({}) == {f"agent-{agents[worst]}": "min_quality"}
    error = refused(serving, HARD, model="router-told-quality", td={"min_quality": 1.0})
    assert error.removed == {"agent-quick": "min_quality", "agent-deep": "min_quality"}


def test_the_runner_up_is_chosen_by_the_same(serving: Serving) -> None:
    assert [each.name for each in plan(serving, HARD, model="router-told-quality").models()] == sorted(
        ("small", "large"), key=lambda name: -scores(serving, HARD)[name]
    )


def test_a_router_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"agents\.groups\.told\.router"):
        opened(agents={"groups": {"told": {"router": "defualt"}}})
