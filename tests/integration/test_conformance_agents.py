"""Agents are chosen, and outcomes counted, as the shared vectors and their readable reference say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import _core
from tiny_dancer.errors import CandidateError, NoFeasibleModelError, OptionError

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from agent_cases import DAY, HALF_LIFE, NOW, agent_vectors  # noqa: E402
from reference.agents import choose, state_after  # noqa: E402
from reference.errors import Refusal  # noqa: E402

DOCUMENT = json.loads((CONFORMANCE / "vectors" / "agents.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["numbers"]["relative"]
ERRORS: dict[str, type[Exception]] = {
    "OptionInvalid": OptionError,
    "NoFeasibleModel": NoFeasibleModelError,
    "CandidateInvalid": CandidateError,
}


def close(found: Any, expected: Any) -> bool:
    """The same, numbers within the tolerance."""
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(close(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float) and isinstance(found, int | float):
        return bool(found == pytest.approx(expected, rel=TOLERANCE, abs=1e-10))
    return bool(found == expected)


def chosen(agents: list[Any], half_life: float | None, query: dict[str, Any]) -> dict[str, Any]:
    engine = _core.AgentSet(half_life)
    engine.put(json.dumps(agents))
    answer: dict[str, Any] = json.loads(engine.choose_json(json.dumps(query)))
    assert answer.pop("reason").startswith(query.get("optimize_for", "balanced"))
    return answer


@pytest.mark.parametrize(
    "vector", [each for each in DOCUMENT["vectors"] if "query" in each], ids=lambda each: each["explain"]
)
def test_agents_are_chosen_as_the_vectors_say(vector: dict[str, Any]) -> None:
    expected = vector["expect"]
    if "error" in expected:
        with pytest.raises(ERRORS[expected["error"]]):
            chosen(vector["agents"], vector["half_life"], vector["query"])
        return
    found = chosen(vector["agents"], vector["half_life"], vector["query"])
    assert close(found, expected), (found, expected)
    # In whatever order they came.
    assert chosen(vector["agents"][::-1], vector["half_life"], vector["query"]) == found


@pytest.mark.parametrize(
    "vector", [each for each in DOCUMENT["vectors"] if "outcomes" in each], ids=lambda each: each["explain"]
)
def test_outcomes_are_counted_as_the_vectors_say(vector: dict[str, Any]) -> None:
    def counted() -> Any:
        state = ""
        for outcome in vector["outcomes"]:
            state = _core.agent_state_after(state, json.dumps(outcome), vector["half_life"])
        return json.loads(state)

    if "error" in vector["state"]:
        with pytest.raises(ERRORS[vector["state"]["error"]]):
            counted()
        return
    assert close(counted(), vector["state"])


def test_the_vectors_are_the_references() -> None:
    assert json.loads(json.dumps(agent_vectors())) == DOCUMENT["vectors"]


shares = st.integers(0, 20).map(lambda value: value / 20)
amounts = st.sampled_from([0.0, 0.0005, 0.002, 0.01, 0.3])
seconds = st.sampled_from([0.1, 0.5, 2.0, 30.0])
outcomes = st.fixed_dictionaries(
    {"at": st.integers(0, 90).map(lambda days: NOW - days * DAY), "success": st.just(True)},
    optional={
        "quality": shares,
        "task": st.sampled_from(["code", "chat"]),
        "cost": amounts,
        "expected_cost": amounts,
        "latency": seconds,
        "output_tokens": st.sampled_from([50.0, 400.0]),
    },
)
prices: st.SearchStrategy[dict[str, float]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"price_request": amounts}),
    st.fixed_dictionaries({"price_input": amounts.map(lambda usd: usd / 100), "price_output": amounts}),
)
declared = st.fixed_dictionaries(
    {"capabilities": st.lists(st.sampled_from(["code", "chat"]), max_size=2, unique=True), "prices": prices},
    optional={
        "quality": shares,
        "task_quality": st.dictionaries(st.sampled_from(["code", "chat"]), shares, max_size=2),
        "success": shares,
        "latency": seconds,
        "output_tokens": st.sampled_from([100.0, 1000.0]),
        "prior_weight": st.sampled_from([1.0, 5.0, 40.0]),
        "price_second": amounts,
        "context": st.sampled_from([500.0, 5000.0]),
    },
)
queries = st.fixed_dictionaries(
    {
        "now": st.integers(-5, 60).map(lambda days: NOW + days * DAY + 0.5),
        "input_tokens": st.sampled_from([0.0, 300.0]),
    },
    optional={
        "optimize_for": st.sampled_from(
            ["cost", "latency", "quality", "balanced", "quality_per_dollar", "weights"]
        ),
        "required_capabilities": st.lists(st.sampled_from(["code", "chat"]), max_size=2, unique=True),
        "max_cost": amounts,
        "budget_remaining": amounts,
        "max_latency": seconds,
        "min_quality": st.integers(0, 19).map(lambda value: value / 20 + 0.013),
        "output_tokens": st.sampled_from([10.0, 800.0]),
        "explore": st.sampled_from([0.6, 0.95]),
        "level": st.sampled_from([0.5, 0.95]),
        "front": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(declared, st.lists(outcomes, max_size=4)), max_size=5), queries)
def test_agents_at_random_are_chosen_as_the_reference_says(
    drawn: list[tuple[dict[str, Any], list[dict[str, Any]]]], query: dict[str, Any]
) -> None:
    agents = []
    for place, (agent, seen) in enumerate(drawn):
        state: dict[str, Any] = {}
        for outcome in seen:
            state = state_after(state, outcome, HALF_LIFE)
        agents.append({"name": f"a{place}", **agent, **({"state": state} if state else {})})
    try:
        expected = choose(agents, HALF_LIFE, query)
    except Refusal as refusal:
        with pytest.raises(ERRORS[refusal.kind]):
            chosen(agents, HALF_LIFE, query)
        return
    found = chosen(agents, HALF_LIFE, query)
    if found["agent"] != expected["agent"] or found["runner_up"] != expected["runner_up"]:
        # Sums in another order may part what is equal but for the last digit.
        assert found["utility"] == pytest.approx(expected["utility"], rel=1e-9, abs=1e-12)
        return
    assert close(found, json.loads(json.dumps(expected))), (found, expected)
