"""Every kind of token at its price, in every tier."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.gateway.upstream.tariff import Tariff
from tiny_dancer.routing.arguments import engine_prices

FIELDS = config.TokenPrices.__struct_fields__
PRICES = st.fixed_dictionaries({}, optional={name: st.floats(0, 1e-2) for name in FIELDS})
TIERS = st.lists(
    st.builds(
        lambda above, service, prices: config.PriceTier(above_tokens=above, service_tier=service, **prices),
        st.integers(1, 5) | st.sampled_from([1000, 200_000]),
        st.sampled_from([None, None, "flex", "Priority"]),
        PRICES,
    ),
    max_size=5,
)
COUNTS = st.integers(0, 10) | st.integers(0, 10**6)
USAGES = st.builds(Usage, *[COUNTS] * 8, tier=st.sampled_from(["", "flex", "priority", "FLEX", "odd"]))


def settings(*tiers: config.PriceTier, **prices: Any) -> config.Model:
    return config.Model(deployments=[config.Deployment(upstream="here")], tiers=list(tiers), **prices)


def cost(usage: Usage, *tiers: config.PriceTier, **prices: Any) -> float | None:
    return Tariff(settings(*tiers, **prices)).cost(usage)


ALL: dict[str, float] = {
    "input_cost_per_token": 2.0,
    "output_cost_per_token": 10.0,
    "cache_read_input_token_cost": 0.2,
    "cache_creation_input_token_cost": 2.5,
    "cache_creation_input_token_cost_above_1hr": 4.0,
    "input_cost_per_audio_token": 7.0,
    "output_cost_per_audio_token": 70.0,
    "output_cost_per_reasoning_token": 30.0,
}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(100, 10), 200 + 100),
        (Usage(100, 10, cached_tokens=60), 40 * 2 + 60 * 0.2 + 100),
        (Usage(100, 10, written_tokens=60), 40 * 2 + 60 * 2.5 + 100),
        (Usage(100, 10, written_tokens=60, written_hour_tokens=50), 40 * 2 + 10 * 2.5 + 50 * 4 + 100),
        (Usage(100, 10, 20, 30, 10, 40), 10 * 2 + 20 * 0.2 + 20 * 2.5 + 10 * 4 + 40 * 7 + 100),
        (Usage(100, 10, input_audio_tokens=40), 60 * 2 + 40 * 7 + 100),
        (Usage(100, 10, output_audio_tokens=4), 200 + 6 * 10 + 4 * 70),
        (Usage(100, 10, reasoning_tokens=6), 200 + 4 * 10 + 6 * 30),
        (Usage(100, 10, output_audio_tokens=4, reasoning_tokens=9), 200 + 4 * 70 + 6 * 30),
        (Usage(100, 10, cached_tokens=90, input_audio_tokens=50), 90 * 0.2 + 10 * 7 + 100),
    ],
)
def test_every_kind_of_token_has_its_price(usage: Usage, expected: float) -> None:
    assert cost(usage, **ALL) == pytest.approx(expected)


def test_what_has_no_price_costs_what_it_belongs_to() -> None:
    usage = Usage(100, 10, 20, 30, 10, 40, 4, 6)
    plain = {"input_cost_per_token": 2.0, "output_cost_per_token": 10.0}
    assert cost(usage, **plain) == pytest.approx(300)
    assert cost(usage, **plain, cache_creation_input_token_cost=3.0) == pytest.approx(330)
    assert cost(usage, input_cost_per_token=2.0) == pytest.approx(200)


@pytest.mark.parametrize(
    ("prompt", "tier", "expected"),
    [
        (100, "", 200 + 10),
        (101, "", 303 + 10),
        (100, "flex", 100 + 5),
        (100, "FLEX", 100 + 5),
        (101, "flex", 101 * 1.5 + 5),
        (201, "flex", 201 * 4 + 5),
        (100, "priority", 400 + 10),
        (100, "fast", 400 + 10),
        (101, "priority", 303 + 10),
        (100, "default", 200 + 10),
        (100, "unheard-of", 200 + 10),
    ],
)
def test_tiers_of_length_and_of_service_meet(prompt: int, tier: str, expected: float) -> None:
    """Of those that hold, the longest says the last word, and at one length the one for its service."""
    tiers = [
        config.PriceTier(above_tokens=200, input_cost_per_token=4.0),
        config.PriceTier(above_tokens=100, input_cost_per_token=3.0),
        config.PriceTier(service_tier="flex", input_cost_per_token=1.0, output_cost_per_token=5.0),
        config.PriceTier(service_tier="flex", above_tokens=100, input_cost_per_token=1.5),
        config.PriceTier(service_tier="priority", input_cost_per_token=4.0),
    ]
    prices = {"input_cost_per_token": 2.0, "output_cost_per_token": 10.0}
    assert cost(Usage(prompt, 1, tier=tier), *tiers, **prices) == pytest.approx(expected)


def test_reasoning_costs_what_a_tier_has_the_answer_cost() -> None:
    tier = config.PriceTier(service_tier="flex", output_cost_per_token=1.0)
    prices = {"output_cost_per_token": 2.0, "output_cost_per_reasoning_token": 3.0}
    assert cost(Usage(0, 10, reasoning_tokens=4), tier, **prices) == pytest.approx(6 * 2 + 4 * 3)
    assert cost(Usage(0, 10, reasoning_tokens=4, tier="flex"), tier, **prices) == pytest.approx(10)


def test_without_prices_nothing_is_known_but_where_a_tier_has_them() -> None:
    tier = config.PriceTier(service_tier="priority", input_cost_per_token=1.0)
    assert cost(Usage(5, 5)) is cost(Usage(5, 5), tier) is None
    assert cost(Usage(5, 5, tier="priority"), tier) == pytest.approx(5)
    assert cost(Usage(5, 5), cost_per_request=0.5) == pytest.approx(0.5)


def test_a_tier_says_when_it_holds() -> None:
    with pytest.raises(msgspec.ValidationError, match="above_tokens, service_tier or both"):
        msgspec.convert({"input_cost_per_token": 1.0}, config.PriceTier)


@given(PRICES, TIERS, USAGES)
def test_whatever_is_counted_every_token_is_paid_once(
    prices: dict[str, float], tiers: list[config.PriceTier], usage: Usage
) -> None:
    found = cost(usage, *tiers, **prices)
    assert found is None or found >= 0
    # All prices the same: all kinds of token are paid, and none twice.
    one = dict.fromkeys(FIELDS, 1.0)
    assert cost(usage, **one) == pytest.approx(usage.input_tokens + usage.output_tokens)


@given(PRICES, TIERS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_routing_reckons_with_the_same_prices(
    prices: dict[str, float], tiers: list[config.PriceTier], prompt: int, output: int, cached: int, written: int
) -> None:
    if prices or tiers:  # neither of the two alone is taken
        prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, **prices}
    model = ServedModel("m", settings(*tiers, **prices), [])
    said = engine_prices(model.info()).cost(prompt, output, cached, written)
    found = model.cost(Usage(prompt, output, cached, written))
    known = any(
        price is not None for price in (prices.get("input_cost_per_token"), prices.get("output_cost_per_token"))
    )
    if known:
        assert found == pytest.approx(said)
