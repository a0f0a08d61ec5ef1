"""Prices from a map in LiteLLM's form; this one is made up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.config import parse
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration import prices
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.configuration.settings import GatewayConfig, Model, PriceTier

if TYPE_CHECKING:
    from pathlib import Path

MAP: dict[str, Any] = {
    "sample_spec": {
        "max_tokens": "an explanation",
        "input_cost_per_token": 0.0,
        "mode": "one of: chat, embedding",
    },
    "bird": {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 4e-06,
        "cache_read_input_token_cost": 5e-07,
        "max_tokens": 4000,
        "max_input_tokens": 9000,
        "max_output_tokens": 3000,
        "litellm_provider": "nest",
    },
    "azure/bird": {"input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06, "max_tokens": 5000},
    "nest/fish": {"input_cost_per_token": 3e-06, "output_cost_per_token": 9e-06},
    "fish": {"input_cost_per_token": 1.0, "output_cost_per_token": 1.0},
    "search": {"input_cost_per_request": 0.005, "input_cost_per_token": True, "output_cost_per_token": "dear"},
    "odd": {
        "input_cost_per_token": -1,
        "output_cost_per_token": None,
        "max_input_tokens": "many",
        "max_tokens": 0,
    },
}

CONFIG = """
upstreams:
  nest: {base_url: "http://nest/v1"}
  cloud: {kind: azure, base_url: "http://cloud"}
models:
  bird: {deployments: [{upstream: nest}]}
  clouded: {deployments: [{upstream: cloud, model: bird}]}
  fish: {deployments: [{upstream: nest}]}
  both: {deployments: [{upstream: nest, model: unheard-of}, {upstream: cloud, model: bird}]}
  search: {deployments: [{upstream: nest}]}
  odd: {deployments: [{upstream: nest}]}
  none: {deployments: [{upstream: nest}]}
  mine:
    deployments: [{upstream: nest, model: bird}]
    input_cost_per_token: 0
    context_window: 7
    max_output_tokens: 8
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(MAP))
    return path


def summary(model: Model) -> tuple[float | int | None, ...]:
    return (
        model.input_cost_per_token,
        model.output_cost_per_token,
        model.cache_read_input_token_cost,
        model.cost_per_request,
        model.context_window,
    )


def test_what_models_leave_out_is_filled_in(path: Path) -> None:
    before = parse(CONFIG, GatewayConfig, "")
    found = prices.fill(before, path)
    assert {name: summary(model) for name, model in found.models.items()} == {
        "bird": (1e-06, 4e-06, 5e-07, None, 9000),
        "clouded": (2e-06, 8e-06, None, None, 5000),
        "fish": (3e-06, 9e-06, None, None, None),
        "both": (2e-06, 8e-06, None, None, 5000),
        "search": (None, None, None, 0.005, None),
        "odd": (None, None, None, None, None),
        "none": (None, None, None, None, None),
        "mine": (0.0, 4e-06, 5e-07, None, 7),
    }
    longest = {name: model.max_output_tokens for name, model in found.models.items() if model.max_output_tokens}
    assert longest == {"bird": 3000, "mine": 8}, "what the configuration says stays"
    assert prices.unpriced(found) == ["odd", "none"]
    assert prices.unpriced(before) == list(before.models)
    assert found.upstreams == before.upstreams


def test_a_price_of_nothing_is_a_price_and_half_a_token_is_no_window(path: Path) -> None:
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "max_input_tokens": 0.5}
    path.write_text(json.dumps({"bird": free}))
    found = prices.fill(parse(CONFIG, GatewayConfig, ""), path)
    assert summary(found.models["bird"]) == (0.0, 0.0, None, None, None)
    assert "bird" not in prices.unpriced(found)


def test_the_map_lies_beside_the_configuration(path: Path) -> None:
    config = path.with_name("gateway.yaml")
    config.write_text(CONFIG + "prices: map.json\n")
    assert load_gateway(config).models["bird"].input_cost_per_token == 1e-06


def test_a_map_with_prices_per_million_is_refused(path: Path) -> None:
    path.write_text(
        json.dumps({"bird": {"input_cost_per_token": 2.5, "output_cost_per_token_above_200k_tokens": 9}})
    )
    config = path.with_name("gateway.yaml")
    config.write_text(CONFIG + "prices: map.json\n")
    with pytest.raises(ConfigError) as caught:
        load_gateway(config)
    assert str(caught.value).startswith("models.bird.input_cost_per_token: 2.5; prices are USD per token; divide")
    assert "models.bird.tiers.0.output_cost_per_token: 9;" in str(caught.value.__notes__)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
        ('{"bird": 5}', "'bird' is no object"),
        ("\xff", "no JSON"),
    ],
)
def test_what_is_no_map_is_refused(content: str, word: str, path: Path) -> None:
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=word):
        prices.fill(parse(CONFIG, GatewayConfig, ""), path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"prices: .*check the path"):
        prices.fill(parse(CONFIG, GatewayConfig, ""), path)


def taken(path: Path, entry: dict[str, Any], **own: Any) -> Model:
    """The model ``bird`` with what it takes from an entry."""
    path.write_text(json.dumps({"bird": entry}))
    text = json.dumps(
        {
            "upstreams": {"nest": {"base_url": "http://nest/v1"}},
            "models": {"bird": {"deployments": [{"upstream": "nest"}], **own}},
        }
    )
    return prices.fill(parse(text, GatewayConfig, ""), path).models["bird"]


def test_every_word_of_the_map_finds_its_tier(path: Path) -> None:
    model = taken(
        path,
        {
            "input_cost_per_token": 1.0,
            "output_cost_per_token": 2.0,
            "cache_creation_input_token_cost_above_1hr": 3.0,
            "input_cost_per_audio_token": 4.0,
            "output_cost_per_audio_token": 5.0,
            "output_cost_per_reasoning_token": 6.0,
            "input_cost_per_token_above_128_tokens": 7.0,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 8.0,
            "input_cost_per_token_flex": 9.0,
            "output_cost_per_token_above_200k_tokens_priority": 10.0,
            "input_cost_per_token_batches": 11.0,
            "input_cost_per_token_decisions": 12.0,
            "input_cost_per_token_above_200k_tokens_flex": "unknown",
        },
    )
    own = (
        "cache_creation_input_token_cost_above_1hr",
        "input_cost_per_audio_token",
        "output_cost_per_audio_token",
    )
    assert [getattr(model, name) for name in own] == [3.0, 4.0, 5.0]
    assert model.output_cost_per_reasoning_token == 6.0
    assert model.tiers == [
        PriceTier(service_tier="batch", input_cost_per_token=11.0),
        PriceTier(service_tier="flex", input_cost_per_token=9.0),
        PriceTier(above_tokens=128, input_cost_per_token=7.0),
        PriceTier(above_tokens=200_000, cache_creation_input_token_cost_above_1hr=8.0),
        PriceTier(above_tokens=200_000, service_tier="priority", output_cost_per_token=10.0),
    ]


def test_prices_that_belong_to_others_come_with_them(path: Path) -> None:
    entry = {
        "input_cost_per_token": 1.0,
        "output_cost_per_token": 2.0,
        "cache_creation_input_token_cost_above_1hr": 3.0,
        "input_cost_per_audio_token": 4.0,
        "output_cost_per_reasoning_token": 6.0,
        "input_cost_per_token_flex": 9.0,
    }
    model = taken(path, entry, input_cost_per_token=0.5, cache_creation_input_token_cost=0.6)
    assert (model.input_cost_per_token, model.input_cost_per_audio_token, model.tiers) == (0.5, None, [])
    assert model.cache_creation_input_token_cost_above_1hr is None
    assert (model.output_cost_per_token, model.output_cost_per_reasoning_token) == (2.0, 6.0)


def test_prices_by_range_are_tiers_each_complete(path: Path) -> None:
    model = taken(
        path,
        {
            "output_cost_per_token": 9.0,
            "input_cost_per_token_flex": 0.1,
            "tiered_pricing": [
                {"input_cost_per_token": 1.0, "output_cost_per_token": 4.0, "range": [0, 256e3]},
                {"input_cost_per_token": 2.0, "cache_read_input_token_cost": 0.5, "range": [256e3, 1e6]},
                {"input_cost_per_token": 3.0, "range": "beyond"},
                "nothing",
            ],
        },
    )
    assert (model.input_cost_per_token, model.output_cost_per_token) == (1.0, 4.0)
    assert model.cache_read_input_token_cost == 1.0, "what a range does not name costs what its prompt does"
    (tier,) = model.tiers
    assert (tier.above_tokens, tier.service_tier) == (256_000, None)
    assert (tier.input_cost_per_token, tier.output_cost_per_token) == (2.0, 9.0)
    assert (tier.cache_read_input_token_cost, tier.cache_creation_input_token_cost) == (0.5, 2.0)


def test_what_the_map_leaves_to_the_provider(path: Path) -> None:
    entry = {"input_cost_per_token": 1.0, "input_cost_per_token_above_200k_tokens": 2.0}
    assert taken(path, entry).tiers[0].above_tokens == 200_000
    assert taken(path, {**entry, "litellm_provider": "xai"}).tiers[0].above_tokens == 199_999
    assert taken(path, {**entry, "litellm_provider": "fireworks_ai"}).cache_read_input_token_cost == 0.5
    said = {**entry, "litellm_provider": "fireworks_ai", "cache_read_input_token_cost": 0.1}
    assert taken(path, said).cache_read_input_token_cost == 0.1
