"""What a router is asked on a request's behalf; what it cannot judge, and when it has failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults import Fault
from tests.unit.gateway.gateways import (
    CHEAP,
    DEAR,
    EASY,
    FIVE,
    HARD,
    TEXTS,
    model,
    names,
    open_five,
    open_pair,
    opened,
    plan,
    refused,
)

from tiny_dancer import _core
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.resilience import Category, CircuitBreaker, Level
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving


@pytest.fixture(scope="module")
def pair() -> Iterator[Serving]:
    found = open_pair()
    yield found
    found.close()


@pytest.fixture(scope="module")
def five() -> Iterator[Serving]:
    found = open_five()
    yield found
    found.close()


def share(serving: Serving, dear: str, **more: Any) -> int:
    return sum(names(serving, text, **more)[0] == dear for text in TEXTS)


@pytest.mark.parametrize("way", ["name", "body", "header"])
def test_policies_order_the_share_of_the_dear_model(pair: Serving, way: str) -> None:
    def asked(policy: str) -> dict[str, Any]:
        if way == "name":
            return {"model": f"router-{policy}"}
        return {"td": {"policy": policy}} if way == "body" else {"headers": {b"x-td-policy": policy.encode()}}

    cost, balanced, quality = (share(pair, "large", **asked(each)) for each in ("cheapest", "balanced", "quality"))
    assert cost <= balanced <= quality
    assert cost < quality
    assert balanced == share(pair, "large", model="auto")
    assert cost == share(pair, "large", **asked("cost")), "the former name of cheapest"


@pytest.mark.parametrize("threshold", [-0.05, 0.0, 0.05, 0.2])
def test_policies_are_ordered_at_any_threshold_of_a_router(threshold: float) -> None:
    serving = opened(routers={"default": {"models": {"weak": "small", "strong": "large"}, "threshold": threshold}})
    shares = [share(serving, "large", td={"policy": each}) for each in ("cheapest", "balanced", "quality")]
    assert shares == sorted(shares)
    assert shares[1] == share(serving, "large")
    assert shares[1] == share(serving, "large", td={"threshold": threshold})
    serving.close()


def test_policies_order_what_five_models_cost(five: Serving) -> None:
    def spent(policy: str) -> float:
        found = [plan(five, text, td={"policy": policy}) for text in TEXTS]
        return sum(each.decision.cost or 0.0 for each in found if each.decision is not None)

    assert spent("cheapest") <= spent("balanced") <= spent("quality")
    assert spent("cheapest") < spent("quality")


@given(text=st.sampled_from(TEXTS), max_cost=st.floats(1e-4, 2e-2), min_quality=st.floats(0, 1))
def test_constraints_hold_on_many_models(five: Serving, text: str, max_cost: float, min_quality: float) -> None:
    try:
        found = plan(five, text, td={"max_cost": max_cost, "min_quality": min_quality})
    except GatewayError as error:
        assert error.code == "no_feasible_model"
        free = plan(five, text).decision
        assert free is not None
        assert free.costs is not None
        for name in FIVE:
            assert free.costs[name] > max_cost or free.scores[name] < min_quality
        return
    decision = found.decision
    assert decision is not None
    assert decision.costs is not None
    assert decision.costs[found.model.name] <= max_cost
    assert decision.scores[found.model.name] >= min_quality


@given(text=st.sampled_from(TEXTS), max_cost=st.floats(2e-3, 2e-2), min_quality=st.floats(0, 0.6))
def test_what_follows_keeps_to_the_limits(five: Serving, text: str, max_cost: float, min_quality: float) -> None:
    try:
        found = plan(five, text, td={"max_cost": max_cost, "min_quality": min_quality})
    except GatewayError:
        return
    decision = found.decision
    assert decision is not None
    assert {each.name for each in found.models()} == set(FIVE) - set(decision.removed)


def test_what_the_client_lists_follows_whatever_the_limits(five: Serving) -> None:
    found = plan(five, EASY, td={"max_cost": 0.005}, models=["anchor"])
    assert found.decision is not None
    assert found.decision.removed["anchor"] == "max_cost"
    assert "anchor" in [each.name for each in found.models()]


_IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]


def test_an_image_alone_goes_to_no_model_whose_answer_exceeds_the_limit(five: Serving) -> None:
    found = plan(five, _IMAGE, td={"max_cost": 0.005})
    assert found.reason == "no_text"
    assert {each.name for each in found.models()} == {"calm", "doubtful", "exact"}
    assert refused(five, _IMAGE, td={"max_cost": 1e-9}).code == "no_feasible_model"


def test_a_router_s_own_bounds_give_way_to_the_request_s() -> None:
    bounds = {"models": {"weak": "small", "strong": "large"}, "max_cost": 0.001}
    serving = opened(routers={"default": bounds})
    assert names(serving, HARD, td={"threshold": -1})[0] == "small"
    assert names(serving, HARD, td={"threshold": -1, "max_cost": 1.0})[0] == "large"
    serving.close()


@pytest.mark.parametrize(
    ("td", "headers", "param"),
    [
        ({"max_latency": 1.0}, {}, "td"),
        ({}, {b"x-td-max-cost": b"inf"}, "td"),
    ],
)
def test_options_that_cannot_be_met_name_themselves(
    pair: Serving, td: dict[str, Any], headers: dict[bytes, bytes], param: str
) -> None:
    error = refused(pair, td=td, headers=headers)
    assert error.status == 400
    assert str(error.param).startswith(param)


def test_a_threshold_is_for_two_models(five: Serving) -> None:
    error = refused(five, td={"threshold": 0.5})
    assert (error.status, error.param) == (400, "td")
    assert "threshold" in error.message


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "dancer", "content": "Hi"}],
        [{"content": "Hi"}],
        [{"role": 5, "content": "Hi"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": {"text": "Hi"}}],
        [{"role": "user", "content": [5]}],
        [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    ],
)
def test_broken_messages_name_their_field(pair: Serving, messages: list[Any]) -> None:
    error = refused(pair, messages=messages)
    assert error.status == 400
    assert str(error.param).startswith("messages[0]")


NUMBER = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "text", "role", "content", "input_text"]), inner, max_size=3),
    ),
    max_leaves=8,
)
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "input_text", "image_url"]), "text": ANY})
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.one_of(st.sampled_from(["user", "system", "assistant", "tool"]), ANY),
        "content": st.one_of(ANY, st.text(), st.lists(PART, max_size=3)),
    }
)


@given(
    st.sampled_from(["chat.completions", "messages", "responses", "completions"]),
    st.one_of(ANY, st.lists(MESSAGE, max_size=4)),
    ANY,
    st.dictionaries(st.sampled_from(["max_cost", "min_quality", "max_latency", "threshold"]), st.floats(-2, 2)),
)
def test_any_request_is_planned_or_refused(
    pair: Serving, endpoint: Any, said: Any, other: Any, td: dict[str, float]
) -> None:
    name = {"completions": "prompt", "responses": "input"}.get(endpoint, "messages")
    fields = {name: said, "tools": other, "system": other, "instructions": other}
    try:
        found = plan(pair, endpoint=endpoint, td=td, **fields)
    except GatewayError as error:
        assert error.status == 400
        assert error.param or error.code == "invalid_json"
    else:
        assert found.model.name in ("small", "large", "claude")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  ",
        None,
        [],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    ],
)
def test_without_text_the_default_serves(pair: Serving, content: object) -> None:
    found = plan(pair, content)
    assert [each.name for each in found.models()] == ["large", "small"]
    assert (found.routed_by, found.reason) == ("default", "no_text")


@pytest.mark.parametrize(("output", "reason"), [("", "no_text"), ("The file has 5 lines.", "gain_too_small")])
def test_the_output_of_a_call_alone_is_served(pair: Serving, output: str, reason: str) -> None:
    """What a client sends whose conversation the upstream keeps: routed by what was returned, if any."""
    call = {"type": "function_call_output", "call_id": "c", "output": output}
    found = plan(pair, [call], endpoint="responses", previous_response_id="r")
    assert found.reason == reason
    assert found.model.name == {"no_text": "large", "gain_too_small": "small"}[reason]


# A router that has failed.


def failed(serving: Serving, router: ResilientRouter) -> Serving:
    (variant,) = serving.routers["default"].variants
    variant.router.close()
    variant.router = router
    return serving


@pytest.mark.parametrize("trouble", ["engine", "breaker"])
def test_a_router_that_failed_still_answers(trouble: str) -> None:
    models = {
        "small": model(**CHEAP, expected_output_tokens=256),
        "large": model(**DEAR, expected_output_tokens=256),
    }
    serving = opened(models=models)
    infos = {"weak": serving.models["small"].info(), "strong": serving.models["large"].info()}
    fault = Fault(RuntimeError("the engine is broken") if trouble == "engine" else None)
    breaker = CircuitBreaker(threshold=1)
    if trouble == "breaker":
        token = breaker.admit()
        assert token is not None
        breaker.fail(token, Category.UPSTREAM)
    path = Path(_core.data_path("default.safetensors"))
    router = ResilientRouter.load(path, models=infos, breaker=breaker)
    if trouble == "engine":
        router = ResilientRouter(ArtifactFile(path), load=lambda data: fault.load(data, infos), breaker=breaker)
    failed(serving, router)
    for text in (EASY, HARD):
        found = plan(serving, text, td={"session": "mine"})
        assert found.decision is not None
        assert found.decision.level in (Level.HEURISTIC, Level.DEFAULT)
        assert found.decision.level_reason
        assert found.model.name == found.decision.model
        assert {each.name for each in found.models()} == {"small", "large"}
    # Policies cannot be judged without the engine: the strong model, and the reason says so.
    found = plan(serving, EASY, td={"policy": "cost"})
    assert (found.model.name, found.decision.level) == ("large", Level.DEFAULT)
    assert names(serving, EASY, td={"exclude": ["large"]}) == ["small"]
    assert refused(serving, td={"exclude": ["large", "small"]}).status == 400
    # Nor does what follows cost more than was asked.
    found = plan(serving, HARD, td={"max_cost": 0.001})
    assert found.decision is not None
    assert found.decision.removed == {"large": "max_cost"}
    assert [each.name for each in found.models()] == ["small"]
    serving.close()
