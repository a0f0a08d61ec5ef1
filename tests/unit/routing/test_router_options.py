"""Options and constraints: each does what it says, and each wrong one is a typed error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import ModelInfo, NoFeasibleModelError, OptionError, Router
from tiny_dancer.training.change import reprice

TEXTS = requests(40, 78)[0]
NUMBERS = ("max_cost", "min_quality", "max_latency", "threshold", "cost_weight", "expected_output_tokens")


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(fitted_trio().artifact)


def wrong(value: object) -> Any:
    return value


@pytest.mark.parametrize("option", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, [1.0], np.array([1.0, 2.0]), 10**400])
def test_numbers_outside_their_range_or_of_another_type_are_refused(
    router: Router, option: str, value: object
) -> None:
    for ask in (lambda **o: router.route("x y", **o), lambda **o: router.route_batch(["x y"], **o)):
        with pytest.raises(OptionError) as caught:
            ask(**{option: wrong(value)})
        assert option in caught.value.field
        assert caught.value.remedy


@pytest.mark.parametrize("option", [option for option in NUMBERS if option != "threshold"])
def test_negative_numbers_are_refused(router: Router, option: str) -> None:
    with pytest.raises(OptionError, match=option):
        router.route("x", **{option: wrong(-1e-9)})


def test_a_quality_above_one_is_refused(router: Router) -> None:
    with pytest.raises(OptionError, match="min_quality"):
        router.route("x", min_quality=1.0001)


@pytest.mark.parametrize("option", ["allowed", "exclude", "pin"])
@pytest.mark.parametrize("value", ["nope", "", 5, ["nope"], [["cheap"]], [None]])
def test_unknown_models_are_refused(router: Router, option: str, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        router.route("x", **{option: wrong(value)})
    assert option in caught.value.field
    assert "cheap, middling, dear" in caught.value.remedy


def test_numpy_numbers_and_names_are_taken(router: Router) -> None:
    assert router.route("x", min_quality=wrong(np.float32(0))).model
    assert router.route("x", max_cost=wrong(np.int64(1))).model
    assert router.route("x", allowed=wrong(np.array(["cheap", "dear"]))).model in ("cheap", "dear")
    assert router.route("x", exclude=(name for name in ("cheap", "dear"))).model == "middling"
    assert router.route("x", allowed="cheap").model == "cheap"


@pytest.mark.parametrize("text", TEXTS[:6])
def test_pinning_is_recorded_as_an_override(router: Router, text: str) -> None:
    for name in router.models:
        decision = router.route(text, pin=name)
        assert (decision.model, decision.reason, decision.routed_by) == (name, "pinned", "override")
        assert decision.scores == router.route(text).scores


def test_allowed_and_exclude_leave_the_rest(router: Router) -> None:
    for text in TEXTS:
        free = router.route(text)
        for name in router.models:
            assert router.route(text, allowed=[name]).model == name
            without = router.route(text, exclude=[name])
            assert without.model != name
            if free.model == name:
                assert (without.reason, without.routed_by) == ("next_feasible", "constraint")
            else:
                assert (without.model, without.routed_by) == (free.model, "learned")


def test_the_most_it_may_cost_and_the_least_it_must_reach_hold(router: Router) -> None:
    for text in TEXTS:
        free = router.route(text)
        assert free.costs is not None
        costs: dict[str, float] = {name: cost for name, cost in free.costs.items() if cost is not None}
        bound = sorted(costs.values())[1]
        bounded = router.route(text, max_cost=bound)
        assert bounded.cost is not None
        assert bounded.cost <= bound
        least = sorted(free.scores.values())[1] - 1e-6
        assert router.route(text, min_quality=least).quality >= least


def test_no_feasible_model_lists_what_removed_each(router: Router) -> None:
    with pytest.raises(NoFeasibleModelError) as caught:
        router.route(TEXTS[0], max_cost=0.0, exclude=["middling"])
    for name in router.models:
        assert name in caught.value.value
    assert "exclude" in caught.value.value
    assert "max_cost" in caught.value.value
    with pytest.raises(NoFeasibleModelError) as caught:
        router.route(TEXTS[0], min_quality=1.0)
    assert all(name in caught.value.value for name in router.models)
    with pytest.raises(NoFeasibleModelError, match="pin"):
        router.route("x", pin="cheap", exclude=["cheap"])
    with pytest.raises(NoFeasibleModelError) as caught:
        router.route_batch([TEXTS[0], TEXTS[1]], exclude=list(router.models))
    assert "[0]" in caught.value.field


def test_a_batch_names_the_row_with_no_feasible_model(router: Router) -> None:
    scores = router.route_batch(TEXTS).scores.max(1)
    worst = int(scores.argmin())
    order = [int(row) for row in np.argsort(-scores)[:3]] + [worst]
    least = float((np.sort(scores)[0] + np.sort(scores[order[:3]])[0]) / 2)
    with pytest.raises(NoFeasibleModelError) as caught:
        router.route_batch([TEXTS[row] for row in order], min_quality=least)
    assert "[3]" in caught.value.field


def test_cost_and_latency_bounds_need_prices_and_latencies() -> None:
    router = Router(fitted_pair().artifact)
    with pytest.raises(OptionError, match="price of weak"):
        router.route("x", max_cost=1.0)
    with pytest.raises(OptionError, match="latency of weak"):
        router.route("x", max_latency=1.0)


def test_a_threshold_is_for_pairs_and_excludes_a_cost_weight(router: Router) -> None:
    with pytest.raises(OptionError, match="two models"):
        router.route("x", threshold=0.1)
    with pytest.raises(OptionError, match="one of the two"):
        Router(fitted_pair().artifact).route("x", threshold=0.1, cost_weight=1.0)


def test_a_growing_cost_weight_never_buys_dearer_decisions(router: Router) -> None:
    for text in TEXTS[:15]:
        costs = []
        for weight in (0.0, 1.0, 10.0, 100.0, 1e3, 1e5, 1e8):
            decision = router.route(text, cost_weight=weight)
            assert decision.routed_by == "override" and decision.cost is not None
            costs.append(decision.cost)
        assert costs == sorted(costs, reverse=True)


def test_prices_from_the_caller_allow_cost_bounds() -> None:
    prices = {
        "weak": ModelInfo(input_cost_per_token=1e-7, output_cost_per_token=1e-7, expected_output_tokens=10),
        "strong": ModelInfo(input_cost_per_token=1e-2, output_cost_per_token=1e-2, expected_output_tokens=10),
    }
    router = Router(fitted_pair().artifact, models=prices)
    assert all(each.model == "weak" for each in router.route_batch(TEXTS, max_cost=1e-3))


def test_a_context_window_removes_models_too_small_for_the_prompt() -> None:
    long = " ".join(TEXTS)
    router = Router(fitted_pair().artifact, models={"strong": ModelInfo(context_window=50)})
    assert router.route(long).model == "weak"
    assert router.route(TEXTS[0], pin="strong").model == "strong"
    with pytest.raises(NoFeasibleModelError, match="context"):
        router.route(long, pin="strong")


@pytest.mark.parametrize(
    "models",
    [
        {"nope": "a"},
        {5: "a"},
        ["weak"],
        "weak",
        {"weak": None},
        {"weak": 5},
        {"weak": ""},
        {"weak": "strong"},
        {"weak": "same", "strong": "same"},
        {"weak": ModelInfo(name="\ud800")},
        {"weak": ModelInfo(input_cost_per_token=math.nan)},
        {"weak": ModelInfo(input_cost_per_token=math.inf)},
        {"weak": ModelInfo(input_cost_per_token=-1e-9, output_cost_per_token=0.0)},
        {"weak": ModelInfo(output_cost_per_token=wrong("1"))},
        {"weak": ModelInfo(cost_per_request=wrong(True))},
        {"weak": ModelInfo(context_window=wrong(1.5))},
        {"weak": ModelInfo(context_window=-1)},
        {"weak": ModelInfo(context_window=10**30)},
        {"weak": ModelInfo(expected_output_tokens=-5.0)},
    ],
    ids=str,
)
def test_wrong_model_information_is_refused(models: object) -> None:
    with pytest.raises(OptionError) as caught:
        Router.load(models=wrong(models))
    assert "models" in caught.value.field
    assert caught.value.remedy


def test_numpy_prices_are_taken() -> None:
    info = ModelInfo(
        input_cost_per_token=wrong(np.float32(0.5)), output_cost_per_token=0.0, context_window=wrong(np.int64(100))
    )
    assert Router.load(models={"weak": info, "strong": info}).route("x").costs is not None


@pytest.mark.parametrize(("given", "missing"), [("input", "output"), ("output", "input")])
def test_a_price_of_one_kind_of_token_alone_is_refused(given: str, missing: str) -> None:
    """What has no price would count as free: cost by a seventy-fifth, in one case."""
    alone: dict[str, Any] = {f"{given}_cost_per_token": 1e-5}
    with pytest.raises(OptionError, match=f"{missing}_cost_per_token of strong: {given}_cost_per_token alone"):
        Router(fitted_pair().artifact, models={"strong": ModelInfo(**alone)})
    both = ModelInfo(**alone, **{f"{missing}_cost_per_token": 0.0}, expected_output_tokens=10)
    assert Router(fitted_pair().artifact, models={"strong": both}).route("hello").costs is not None
    with pytest.raises(OptionError, match="input_cost_per_token"):
        Router(fitted_pair().artifact, models={"strong": ModelInfo(cache_read_input_token_cost=1e-6)})
    # The artifact has the other one already.
    known = reprice(fitted_pair().artifact, {"strong": both, "weak": 1e-6})
    assert Router(known, models={"strong": ModelInfo(input_cost_per_token=2e-5)}).route("hello").costs is not None
