"""Every model of the price map that LiteLLM ships, priced as LiteLLM prices it.

LiteLLM runs in a process of its own: importing it sets up logging and more. ``LITELLM_PYTHON`` names another
Python that has it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tiny_dancer.config import parse
from tiny_dancer.gateway.configuration import prices
from tiny_dancer.gateway.configuration.settings import GatewayConfig
from tiny_dancer.gateway.upstream.deployments import ServedModel
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.routing.arguments import engine_prices

SCRIPT = Path(__file__).parents[2] / "litellm_costs.py"
PYTHON = os.environ.get("LITELLM_PYTHON") or (sys.executable if importlib.util.find_spec("litellm") else None)
# Where the map's prices for long prompts begin.
LENGTHS = [32_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000]

pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs LiteLLM: LITELLM_PYTHON names a Python that has it")


def usages(seed: int) -> list[Usage]:
    """Usages with every kind of token, at and above the lengths where prices change, and anywhere."""
    draw = random.Random(seed)
    prompts = [length + more for length in LENGTHS for more in (0, 1)]
    prompts += [int(10 ** draw.uniform(0, 6)) for _ in range(8)]
    found = []
    for prompt in prompts:
        output = int(10 ** draw.uniform(0, 4))
        written = draw.choice([0, prompt // 4])
        found.append(
            Usage(
                input_tokens=prompt,
                output_tokens=output,
                cached_tokens=draw.choice([0, draw.randrange(prompt // 2 + 1)]),
                written_tokens=written,
                written_hour_tokens=draw.choice([0, written // 3, written]),
                input_audio_tokens=draw.choice([0, draw.randrange(prompt + 1)]),
                output_audio_tokens=draw.choice([0, output // 3]),
                reasoning_tokens=draw.choice([0, output // 2]),
                tier=draw.choice(["", "", "flex", "priority", "fast", "ultrafast", "balanced", "unheard-of"]),
            )
        )
    return found


@pytest.fixture(scope="module")
def asked() -> list[Usage]:
    return usages(seed=11)


@pytest.fixture(scope="module")
def answers(asked: list[Usage]) -> dict[str, Any]:
    assert PYTHON is not None
    given = json.dumps(msgspec.to_builtins(asked))
    # Its environment is its own: what is installed here must not shadow it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON, str(SCRIPT)], input=given, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def served(answers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServedModel]:
    """Every model, with the prices that the gateway takes from the map."""
    path = tmp_path_factory.mktemp("prices") / "map.json"
    names = list(answers)
    path.write_text(json.dumps({f"m{place}": answers[name]["entry"] for place, name in enumerate(names)}))
    models = {f"m{place}": {"deployments": [{"upstream": "here"}]} for place in range(len(names))}
    text = json.dumps({"upstreams": {"here": {"base_url": "http://here/v1"}}, "models": models})
    filled = prices.fill(parse(text, GatewayConfig, ""), path).models
    return {name: ServedModel(name, filled[f"m{place}"], []) for place, name in enumerate(names)}


def cost_of(model: ServedModel, usage: Usage) -> float:
    """USD of the tokens: LiteLLM leaves out what the map has a request cost."""
    found = model.cost(usage)
    return 0.0 if found is None else found - (model.settings.cost_per_request or 0.0)


def left_out(entry: dict[str, Any], usage: Usage) -> float:
    """USD that LiteLLM forgets of a long prompt kept for an hour, in a tier of service without a price for that.

    It falls back on the price of short prompts, where with all other prices it takes that of long ones."""
    hour = "cache_creation_input_token_cost_above_1hr"
    tier = "priority" if usage.tier == "fast" else usage.tier
    if tier not in ("flex", "priority", "ultrafast", "balanced"):
        return 0.0
    for length in sorted(LENGTHS, reverse=True):
        long = f"{hour}_above_{length // 1000}k_tokens"
        if long in entry and usage.input_tokens > length:
            if f"{long}_{tier}" in entry:
                return 0.0
            rest = usage.input_tokens - usage.cached_tokens
            return float(min(usage.written_hour_tokens, rest) * (entry[long] - entry[hour]))
    return 0.0


def test_every_model_costs_what_litellm_says(
    answers: dict[str, Any], asked: list[Usage], served: dict[str, ServedModel]
) -> None:
    assert len(answers) > 1000
    refused, wrong = set(), []
    for name, found in answers.items():
        for usage, said in zip(asked, found["generic"] or found["costs"], strict=True):
            if isinstance(said, str):
                refused.add((name, said))
                continue
            expected = said + left_out(found["entry"], usage)
            if cost_of(served[name], usage) != pytest.approx(expected, rel=1e-9, abs=1e-15):
                wrong.append((name, usage, cost_of(served[name], usage), expected))
    assert not wrong, (
        f"{len(wrong)} of {len(answers) * len(asked)}, {len({w[0] for w in wrong})} models: {wrong[:3]}"
    )
    assert not refused, list(refused)[:5]


def test_where_litellm_s_own_calculators_differ_it_is_they_that_leave_prices_out(
    answers: dict[str, Any], asked: list[Usage]
) -> None:
    """Fireworks': the tier of service. Perplexity's: that, long prompts, audio, cache writes."""
    for name, found in answers.items():
        for usage, short, whole in zip(asked, found["costs"], found["generic"] or found["costs"], strict=False):
            if short == pytest.approx(whole, rel=1e-9):
                continue
            entry = found["entry"]
            if entry["litellm_provider"] == "fireworks_ai":
                assert f"input_cost_per_token_{'priority' if usage.tier == 'fast' else usage.tier}" in entry, name
            else:
                assert entry["litellm_provider"] == "perplexity"
                special = (
                    usage.tier or usage.written_tokens or usage.input_audio_tokens or usage.output_audio_tokens
                )
                assert special or any("_above_" in word for word in entry), name


def test_routing_reckons_with_the_same_prices(asked: list[Usage], served: dict[str, ServedModel]) -> None:
    """The engine's account of what is known before an answer is."""
    for name, model in served.items():
        engine = engine_prices(model.info())
        for usage in asked:
            known = Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.written_tokens)
            said = engine.cost(known.input_tokens, known.output_tokens, known.cached_tokens, known.written_tokens)
            assert model.cost(known) == (None if said is None else pytest.approx(said, rel=1e-9)), name
