"""Prices from a map in LiteLLM's form; this one is made up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.config import parse
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration import prices
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.configuration.settings import GatewayConfig, Model

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
