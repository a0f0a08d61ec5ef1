"""Agents are read as others write them, and written as others read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.errors import CandidateError, ConfigError, OptionError
from tiny_dancer.routing.agent_files import export_agents, read_agents
from tiny_dancer.storage import Agent
from tiny_dancer.types import PriceTier

if TYPE_CHECKING:
    from pathlib import Path

CARD = {
    "protocolVersion": "0.3.0",
    "name": "Recipe agent",
    "description": "Helps with cooking",
    "url": "https://agents.example/recipes",
    "version": "1.0.1",
    "capabilities": {"streaming": True},
    "defaultInputModes": ["text/plain"],
    "defaultOutputModes": ["text/plain"],
    "skills": [
        {
            "id": "find_recipe",
            "name": "Find a recipe",
            "description": "Finds recipes by ingredients",
            "tags": ["cooking"],
            "examples": ["What can I cook with rice?"],
        },
        {"id": "convert", "name": "Convert units", "description": "Cups to grams", "tags": ["cooking", "units"]},
    ],
}
TOOLS = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {
        "tools": [
            {
                "name": "get_weather",
                "title": "Weather",
                "description": "Forecast",
                "inputSchema": {"type": "object"},
            }
        ]
    },
}
PRICES = {
    "sample_spec": {"input_cost_per_token": 0},
    "gpt-x": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 8e-6,
        "cache_read_input_token_cost": 5e-7,
        "input_cost_per_token_above_200k_tokens": 4e-6,
        "max_input_tokens": 128000,
        "supports_vision": True,
        "supports_audio_input": False,
    },
    "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-7},
}
LITELLM = """
model_list:
  - model_name: fast
    litellm_params:
      model: openai/gpt-x
      api_key: sk-secret
      rpm: 60
      tpm: 1000
  - model_name: fast
    litellm_params:
      model: azure/gpt-x
      rpm: 30
  - model_name: own
    litellm_params:
      model: ollama/own
      input_cost_per_token: 0
      output_cost_per_token: 0
    model_info:
      max_input_tokens: 8000
general_settings:
  master_key: sk-secret
"""


def written(folder: Path, document: Any, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def test_skills_of_an_agent_card_are_capabilities_with_examples(tmp_path: Path) -> None:
    found = read_agents(written(tmp_path, CARD))
    (agent,) = found.agents
    assert found.format == "a2a"
    assert (agent.name, agent.type, agent.version) == ("Recipe agent", "api", "1.0.1")
    assert agent.capabilities == ("find_recipe", "convert")
    assert agent.examples == ("What can I cook with rice?",) and agent.tags == ("cooking", "units")
    assert "Finds recipes by ingredients" in agent.description
    assert agent.metadata["url"] == "https://agents.example/recipes"
    assert read_agents(written(tmp_path, [CARD, {**CARD, "name": "b"}])).agents[1].name == "b"
    (again,) = read_agents(written(tmp_path, export_agents([agent], "a2a"))).agents
    assert (again.name, again.capabilities, again.examples, again.tags) == (
        agent.name, agent.capabilities, agent.examples, agent.tags,
    )  # fmt: skip


def test_tools_of_a_server_are_agents(tmp_path: Path) -> None:
    for document in (TOOLS, TOOLS["result"]):
        found = read_agents(written(tmp_path, document))
        (agent,) = found.agents
        assert (found.format, agent.name, agent.type) == ("mcp", "get_weather", "tool")
        assert agent.capabilities == ("get_weather",) and agent.description == "Weather\nForecast"
    assert json.loads(export_agents([agent], "mcp"))["tools"][0]["inputSchema"] == {"type": "object"}


def test_models_of_litellm_have_prices_of_the_map_and_no_secrets(tmp_path: Path) -> None:
    prices = written(tmp_path, PRICES, "prices.json")
    found = read_agents(written(tmp_path, LITELLM, "config.yaml"), prices=prices)
    fast, own = found.agents
    assert (fast.input_cost_per_1k, fast.output_cost_per_1k) == pytest.approx((0.002, 0.008))
    assert fast.cached_input_cost_per_1k == pytest.approx(0.0005)
    assert fast.price_tiers == (PriceTier(200_000, input_cost_per_token=4e-6),)
    assert fast.context == 128_000 and fast.capabilities == ("vision",)
    assert (fast.requests_per_minute, fast.tokens_per_minute) == (90, None)
    assert own.input_cost_per_1k == 0.0 and own.context == 8000
    assert len(found.notes) == 1 and "fast" in found.notes[0]
    assert "secret" not in "".join(agent.to_json() for agent in found.agents)
    (alone,) = (listed := read_agents(prices)).agents
    assert alone.name == "gpt-x" and "1 entries" in listed.notes[0]
    again = read_agents(written(tmp_path, export_agents(found.agents, "litellm")))
    assert [each.input_cost_per_1k for each in again.agents] == pytest.approx([0.002, 0.0])


def test_models_of_openai_and_openrouter(tmp_path: Path) -> None:
    plain = {"object": "list", "data": [{"id": "gpt-x", "object": "model", "created": 1, "owned_by": "me"}]}
    (agent,) = read_agents(written(tmp_path, plain), prices=written(tmp_path, PRICES, "p.json")).agents
    assert agent.input_cost_per_1k == pytest.approx(0.002) and agent.metadata == {"owned_by": "me"}
    router = {
        "data": [
            {
                "id": "x/y",
                "description": "A model",
                "context_length": 32000,
                "pricing": {"prompt": "0.000001", "completion": "0.000002", "request": "0", "image": "0"},
            }
        ]
    }
    (agent,) = read_agents(written(tmp_path, router)).agents
    assert (agent.input_cost_per_1k, agent.output_cost_per_1k) == pytest.approx((0.001, 0.002))
    assert agent.context == 32000 and agent.cost_per_call == 0.0
    assert json.loads(export_agents([agent], "openai"))["data"][0]["id"] == "x/y"


def test_what_is_declared_is_read_back_whole(tmp_path: Path) -> None:
    agents = [
        Agent("a", capabilities=("x",), quality=0.5, price_tiers=(), metadata={"k": [1]}),
        Agent("b", type="human", cost_per_call=2.0, latency_s=60.0, latency_p99_s=600.0, active=False),
    ]
    assert list(read_agents(written(tmp_path, export_agents(agents))).agents) == agents
    yaml = "agents:\n  - name: a\n    quality: 0.5\n"
    assert read_agents(written(tmp_path, yaml, "a.yaml")).agents == (Agent("a", quality=0.5),)


@pytest.mark.parametrize(
    ("document", "error", "named"),
    [
        ({"x": 1}, ConfigError, "none of the known formats"),
        ("{", ConfigError, "JSON"),
        ("a: [", ConfigError, "JSON or YAML"),
        ("a: &x 1\nb: *x\n", ConfigError, "alias"),
        ({"name": "a", "skills": {}}, ConfigError, "skills"),
        ({"tools": ["x"]}, ConfigError, r"tools\[0\]"),
        ({"tools": [{"description": "no name"}]}, CandidateError, "name"),
        ({"data": [{"id": "a", "pricing": {"prompt": "-1", "completion": "0"}}]}, ConfigError, "prompt"),
        ({"agents": [{"name": "a", "qualty": 1}]}, CandidateError, "did you mean quality"),
        ({"agents": [{"quality": 1}]}, CandidateError, "name"),
        ({"model_list": [{"litellm_params": {"model": "x"}}]}, CandidateError, "name"),
    ],
)
def test_what_is_no_file_of_agents_is_refused_by_name(
    tmp_path: Path, document: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        read_agents(written(tmp_path, document))
    with pytest.raises(ConfigError):
        read_agents(tmp_path / "missing.json")
    with pytest.raises(OptionError, match="format"):
        export_agents([], "xml")  # type: ignore[arg-type]
