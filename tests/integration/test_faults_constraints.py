"""What a caller asks for holds on every level, and a caller's error is one on every level."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults import CHAT, DEFAULT, HARD, PRICED, Fault, broken

from tiny_dancer import (
    NoFeasibleModelError,
    OptionError,
    Router,
    TinyDancerError,
    _core,
)
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.routing.resilient import ResilientRouter


def test_the_default_model_can_be_chosen() -> None:
    assert broken(default_model="weak").route(HARD, min_quality=0.5).model == "weak"
    with pytest.raises(OptionError, match="default_model"):
        broken(default_model="nobody")


@pytest.mark.parametrize(
    "options",
    [
        {"pin": "nobody"},
        {"exclude": ["nobody"]},
        {"allowed": 7},
        {"exclude": [3]},
        {"max_cost": 1.0},
        {"max_latency": 1.0},
        {"max_cost": -1.0},
        {"min_quality": 1.5},
        {"min_quality": math.nan},
        {"cost_weight": -1.0},
        {"expected_output_tokens": math.inf},
        {"max_latency": "fast"},
        {"min_quality": True},
        {"exclude": ["weak", "strong"]},
        {"pin": "weak", "exclude": "weak"},
        {"allowed": ["weak"], "pin": "strong"},
        {"tools": {1, 2}},
    ],
)
def test_the_callers_errors_are_the_same_with_and_without_an_outage(options: dict[str, Any]) -> None:
    with pytest.raises(TinyDancerError) as healthy:
        Router.load().route(HARD, **options)
    router = broken()
    for _ in range(7):  # the circuit opens in between
        with pytest.raises(type(healthy.value)):
            router.route(HARD, **options)
        router.route(HARD)


@pytest.mark.parametrize(
    "request_",
    [
        "",
        " \n\t",
        "\0",
        "\udc80",
        7,
        None,
        [],
        [{"role": "user"}],
        [{"role": "x", "content": "y"}],
        ["text"],
        b"x",
    ],
)
def test_bad_requests_are_refused_on_every_level(request_: Any) -> None:
    router = broken()
    for _ in range(7):
        with pytest.raises(TinyDancerError) as found:
            router.route(request_)
        try:
            Router.load().route(request_)
        except TinyDancerError as healthy:
            assert type(found.value) is type(healthy)
        else:
            pytest.fail("the router takes what the fallbacks refuse")
        router.route(HARD)
    assert ResilientRouter.load().status().breaker.failures == {}


@given(
    allowed=st.lists(st.sampled_from(["weak", "strong"]), max_size=2),
    exclude=st.lists(st.sampled_from(["weak", "strong"]), max_size=2),
    pin=st.sampled_from([None, "weak", "strong"]),
    max_cost=st.sampled_from([None, 0.0, 1.5e-5, 1.5e-4, 1.0]),
    min_quality=st.sampled_from([None, 0.0, 0.4]),
    text=st.sampled_from([CHAT, HARD, "word " * 150, "Describe a cat.", "x"]),
    seen=st.booleans(),
    featurises=st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_level_breaks_a_constraint(
    monkeypatch: pytest.MonkeyPatch,
    allowed: list[str],
    exclude: list[str],
    pin: str | None,
    max_cost: float | None,
    min_quality: float | None,
    text: str,
    seen: bool,
    featurises: bool,
) -> None:
    """What the healthy router finds feasible by names, cost and context window bounds what a fallback chooses."""
    fault = Fault()
    router = ResilientRouter(ArtifactFile(DEFAULT), load=lambda data: fault.load(data, PRICED))
    if seen:
        router.route(text)
    fault.error = RuntimeError("broken")
    # Iterators, as callers give them: a second level must not find them empty.
    options = {"pin": pin, "max_cost": max_cost, "min_quality": min_quality}
    possible = set()
    for model in ("weak", "strong"):
        try:
            Router.load(models=PRICED).route(
                text, allowed=allowed, exclude=exclude, max_cost=max_cost, pin=model if pin is None else pin
            )
        except NoFeasibleModelError:
            continue
        possible.add(model if pin is None else pin)
    with monkeypatch.context() as patch:
        if not featurises:
            patch.setattr(_core, "featurise", lambda *_: 1 / 0)
        try:
            decision = router.route(
                text, allowed=iter(allowed) if allowed else (), exclude=iter(exclude), **options
            )
        except NoFeasibleModelError:
            # Without token counts a limit on cost is kept by counting characters, which may remove more.
            assert not possible or (not featurises and max_cost is not None)
            return
    assert decision.level > 0
    # A context window is judged by tokens, so not where there are none.
    assert decision.model in possible or (not featurises and decision.model not in exclude)
    if allowed:
        assert decision.model in allowed
    assert decision.model not in exclude
    assert pin in (None, decision.model)
    if max_cost is not None:
        price = PRICED[decision.model].input_cost_per_token or 0.0
        assert price * int(_core.featurise([text]).tokens[0]) <= max_cost
    if min_quality is not None and pin is None:
        assert "min_quality cannot be judged" in decision.level_reason
