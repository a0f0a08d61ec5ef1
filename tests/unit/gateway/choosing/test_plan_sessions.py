"""What a conversation or an escalation does not override, and which model is the default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import ARTIFACTS, CHEAP, DEAR, EASY, HARD, configured, model, plan

from tiny_dancer.gateway.choosing.chooser import Chooser
from tiny_dancer.gateway.choosing.serving import Serving
from tiny_dancer.gateway.choosing.sessions import SessionTable
from tiny_dancer.gateway.configuration.settings import Sessions
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from tiny_dancer.gateway.choosing.plan import Plan

# The dear model with its prefix cached costs less than the cheap one that has to read all of it.
MODELS = {
    "small": model(**{**CHEAP, "input_cost_per_token": 8e-6, "expected_output_tokens": 1}),
    "large": model(**{**DEAR, "expected_output_tokens": 1}),
}
MANUAL = "The pump has seven valves. " * 300 + HARD


def opened(**more: Any) -> Serving:
    return Serving(configured(**{"models": MODELS, **more}), Path())


def turns(serving: Serving, *tds: dict[str, Any], model: str = "auto") -> Plan:
    """Plans of one conversation, all of whose prompts stay in the cache of the model that answered."""
    by = Chooser(SessionTable(serving.config.sessions))
    found = None
    for number, td in enumerate(tds):
        found = plan(serving, f"{MANUAL} ({number})", by=by, td={"session": "mine", **td}, model=model)
        by.answered(found, found.model.name, 3000)
    assert found is not None
    return found


def test_a_conversation_keeps_within_constraints() -> None:
    serving = opened()
    dear, cheap = {"threshold": -1.0}, {"threshold": 0.3}
    held = turns(serving, dear, cheap)
    assert (held.model.name, held.reason) == ("large", "prompt_cached")
    decision = held.decision
    assert decision is not None
    assert decision.costs is not None
    costs = decision.costs
    between = (costs["small"] + costs["large"]) / 2
    assert turns(serving, dear, {**cheap, "max_cost": between}).model.name == "small"
    assert turns(serving, dear, {**cheap, "max_cost": 1.0}).model.name == "large"
    # And the other way: the cheap one is cached, but not good enough.
    scores = decision.scores
    least = (scores["small"] + scores["large"]) / 2
    assert scores["small"] < least < scores["large"]
    assert turns(serving, {"threshold": 1.0}, {"min_quality": least, "threshold": -1.0}).model.name == "large"
    serving.close()


def test_an_escalation_keeps_within_constraints() -> None:
    serving = opened(sessions={"escalate": True, "sticky": False})
    by = Chooser(SessionTable(serving.config.sessions))
    td: dict[str, Any] = {"session": "mine", "threshold": 1.0}
    decision = plan(serving, EASY, td=td).decision
    assert decision is not None
    assert decision.costs is not None
    td["max_cost"] = (decision.costs["small"] + decision.costs["large"]) / 2
    for _ in range(2):
        found = plan(serving, EASY, by=by, td=td)
        assert found.model.name == "small"
        by.answered(found, "small", 10)
    assert plan(serving, EASY, by=by, td={**td, "max_cost": 1.0}).model.name == "large"
    serving.close()


def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects what the engine is asked of every request."""
    seen: list[Any] = []
    decide = ResilientRouter.decide

    def asked(self: ResilientRouter, request: Any, tools: Any, options: Any, **more: Any) -> Any:
        seen.append(options)
        return decide(self, request, tools, options, **more)

    monkeypatch.setattr(ResilientRouter, "decide", asked)
    return seen


@pytest.mark.parametrize("asked", ["router-cheapest", "router-balanced", "router-quality"])
def test_a_policy_weighs_staying_as_it_weighs_leaving(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    names = ("anchor", "brisk", "calm", "doubtful", "exact")
    models = {name: model(**CHEAP) for name in names}
    router = {"artifact": str(ARTIFACTS / "five.safetensors"), "policy": "quality"}
    serving = opened(models=models, routers={"default": router})
    seen = told(monkeypatch)
    by = Chooser(SessionTable(Sessions()))
    for excluded in (["calm", "exact"], ["anchor"], []):
        found = plan(serving, HARD, by=by, model=asked, td={"session": "mine", "exclude": excluded})
        by.answered(found, "calm", 3000)
    policy = asked.removeprefix("router-")
    assert {None if each is None else each.policy for each in seen} == {policy}
    assert [each.current for each in seen if each is not None and each.current] == ["calm", "calm"]
    serving.close()


def test_a_prefix_at_the_model_that_was_left_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = opened()
    seen = told(monkeypatch)
    turns(serving, {"threshold": -1.0}, {"exclude": ["large"]}, {"threshold": -1.0})
    assert [each and each.cached_tokens for each in seen] == [{}, {}, {"large": 3000, "small": 3000}]
    assert seen[2].current == "small"
    serving.close()


def test_a_role_needs_no_router() -> None:
    serving = opened(routers={}, roles={"edit": {"model": "small"}})
    assert plan(serving, td={"role": "edit"}).model.name == "small"
    with pytest.raises(GatewayError):
        plan(serving)


def test_the_default_model_need_not_be_one_of_the_router_s() -> None:
    models = {**MODELS, "safe": model(**CHEAP)}
    serving = opened(models=models, default_model="safe")
    images = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    assert plan(serving, images).model.name == "safe"
    assert plan(serving, images, td={"exclude": ["safe"]}).model.name == "large"
    assert plan(serving, images, td={"role": "edit"}).model.name == "safe"
    serving.close()


def test_other_tools_hold_no_conversation() -> None:
    """Tools stand at the beginning of a prompt: where they change, nothing behind them is cached any more."""
    router = {"models": {"weak": "small", "strong": "large"}, "tool_selection": {"mode": "filter", "top_k": 1}}
    serving = opened(routers={"default": router})
    tools = [{"type": "function", "function": {"name": name}} for name in ("pump", "valve")]

    def second(sent: list[Any], **more: Any) -> Plan:
        by = Chooser(SessionTable(serving.config.sessions))
        td = {"session": "mine", "threshold": -1.0, **more}
        first = plan(serving, f"{MANUAL} (1)", by=by, td=td, tools=tools[:1])
        by.answered(first, first.model.name, 3000)
        return plan(serving, f"{MANUAL} (2)", by=by, td={**td, "threshold": 0.3}, tools=sent)

    assert second(tools[:1]).reason == "prompt_cached"
    left = second(tools[1:])
    assert (left.model.name, left.reason) != ("large", "prompt_cached")
    serving.close()
