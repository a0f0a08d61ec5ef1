"""Which agents, requests and outcomes the vectors of agents ask for."""

from __future__ import annotations

import math
import random
from typing import Any

from reference.agents import choose, state_after
from reference.errors import Refusal

Vector = dict[str, Any]

DAY = 86_400.0
NOW = 1_790_000_000.0
HALF_LIFE = 30 * DAY

SMALL = {
    "name": "small",
    "capabilities": ["summarise", "translate"],
    "prices": {"price_input": 1e-7, "price_output": 4e-7},
    "output_tokens": 200.0,
    "latency": 0.4,
    "latency_p99": 1.2,
    "quality": 0.7,
    "context": 8000.0,
}
LARGE = {
    "name": "large",
    "capabilities": ["summarise", "code"],
    "tags": ["gdpr"],
    "region": "eu",
    "prices": {
        "price_input": 3e-6,
        "price_output": 1.5e-5,
        "price_cached_input": 3e-7,
        "price_tiers": [{"above": 20_000.0, "input": 6e-6, "output": 2.25e-5}],
    },
    "output_tokens": 300.0,
    "latency": 1.5,
    "quality": 0.9,
    "task_quality": {"code": 0.95},
    "success": 0.98,
}
PERSON = {
    "name": "person",
    "type": "human",
    "capabilities": ["translate"],
    "price_second": 0.01,
    "latency": 600.0,
    "latency_p99": 4000.0,
    "quality": 1.0,
    "prior_weight": 20.0,
}
FREE = {"name": "free", "type": "tool", "prices": {"price_request": 0.0}, "latency": 0.05, "capabilities": ["add"]}
DARK = {"name": "dark", "quality": 0.93, "active": True, "capabilities": ["code"]}
GONE = {"name": "gone", "quality": 0.99, "active": False, "prices": {"price_request": 0.001}, "latency": 0.1}
ALL = [SMALL, LARGE, PERSON, FREE, DARK, GONE]


def observed(agent: dict[str, Any], outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for outcome in outcomes:
        state = state_after(state, outcome, HALF_LIFE)
    return {**agent, "state": state}


def some_outcomes(seed: int, count: int, right: float) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        success = draw.random() < 0.95
        outcome: dict[str, Any] = {"at": NOW - draw.uniform(0, 60 * DAY), "success": success}
        if success:
            outcome |= {"quality": 1.0 if draw.random() < right else 0.0, "output_tokens": 100.0 + draw.random()}
            outcome["task"] = draw.choice(["code", "summarise", None])
        outcome |= {"cost": 0.01 * draw.random(), "latency": 1.0 + draw.random()}
        if draw.random() < 0.8:
            outcome["expected_cost"] = 0.005
        found.append(outcome)
    return found


SEEN = [
    observed(SMALL, some_outcomes(1, 40, 0.8)),
    observed(LARGE, some_outcomes(2, 25, 0.6)),
    observed(DARK, some_outcomes(3, 6, 0.9)),
    PERSON,
]

USUAL = {"input_tokens": 1200.0, "now": NOW}

CHOICES: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    *(
        (f"the policy {policy}", ALL, {**USUAL, "optimize_for": policy, "front": True})
        for policy in ("cost", "latency", "quality", "balanced", "quality_per_dollar")
    ),
    ("nothing is asked", ALL, {}),
    ("what costs nothing gives infinitely many answers a dollar", [FREE, SMALL],
     {"optimize_for": "quality_per_dollar"}),
    ("of two that cost nothing the better", [FREE, {**FREE, "name": "able", "quality": 0.9}],
     {"optimize_for": "quality_per_dollar"}),
    ("own weights", ALL,
     {**USUAL, "optimize_for": "weights", "weights": {"quality": 2, "cost": 50, "latency": 0}}),
    ("another worth of money", ALL, {**USUAL, "weights": {"cost": 500.0, "latency": 0.0}}),
    ("tokens of the answer are known", ALL, {**USUAL, "output_tokens": 50.0, "optimize_for": "quality"}),
    ("a cached prompt", [LARGE], {**USUAL, "cached_tokens": 1000.0}),
    ("a long prompt has other prices", [LARGE], {"input_tokens": 20_001.0, "output_tokens": 10.0}),
    ("the cheapest whose lower end is good enough", ALL, {**USUAL, "optimize_for": "cost", "min_quality": 0.55}),
    ("a wider interval asks for more", ALL, {**USUAL, "optimize_for": "cost", "min_quality": 0.55, "level": 0.99}),
    ("capabilities", ALL, {**USUAL, "required_capabilities": ["summarise", "code"]}),
    ("quality at a task", ALL, {**USUAL, "task": "code", "optimize_for": "quality"}),
    ("types", ALL, {**USUAL, "types": ["human", "tool"]}),
    ("tags and region", ALL, {**USUAL, "tags": ["gdpr"], "region": "eu"}),
    ("some are excluded", ALL, {**USUAL, "optimize_for": "quality", "excluded": ["person", "dark"]}),
    ("a prompt too long for one", ALL, {"input_tokens": 7900.0, "now": NOW}),
    ("cost is bounded, and unknown of one", ALL, {**USUAL, "optimize_for": "quality", "max_cost": 0.01}),
    ("a budget holds the upper end", ALL, {**USUAL, "optimize_for": "quality", "budget_remaining": 0.0085}),
    ("time is bounded", ALL, {**USUAL, "optimize_for": "quality", "max_latency": 1.0}),
    ("nobody is left", ALL, {**USUAL, "required_capabilities": ["code"], "max_cost": 1e-9}),
    ("no agents", [], {}),
    ("prices and times are known of nobody",
     [{"name": "a", "quality": 0.5}, {"name": "b", "quality": 0.6}], USUAL),
    ("times are known of nobody", [{"name": "a", "quality": 0.5, "prices": {"price_request": 0.001}}, {"name": "b",
     "quality": 0.6, "prices": {"price_request": 0.02}}], USUAL),
    ("one agent has no runner-up", [SMALL], USUAL),
    ("quality of this request", ALL,
     {**USUAL, "optimize_for": "quality", "qualities": {"small": 0.97, "large": 0.2}}),
    ("quality of this request must reach the bound itself", ALL,
     {**USUAL, "optimize_for": "cost", "min_quality": 0.6, "qualities": {"small": 0.61, "free": 0.59}}),
    ("exploring", SEEN, {**USUAL, "optimize_for": "quality", "explore": 0.95}),
    *(
        (f"after outcomes, by {policy}", SEEN, {**USUAL, "optimize_for": policy, "front": True})
        for policy in ("cost", "latency", "quality", "balanced", "quality_per_dollar")
    ),
    ("after outcomes, at a task", SEEN, {**USUAL, "optimize_for": "quality", "task": "code"}),
    ("after outcomes, the worst of two tasks", SEEN,
     {**USUAL, "optimize_for": "quality", "required_capabilities": ["summarise", "code"]}),
    ("after outcomes that have faded", SEEN, {**USUAL, "now": NOW + 90.5 * DAY, "optimize_for": "quality"}),
    ("a clock that is behind", SEEN, {**USUAL, "now": NOW - 365 * DAY, "optimize_for": "quality"}),
    ("equal but for the price", [{**DARK, "prices": {"price_request": 0.2}}, {**DARK, "name": "z", "prices":
     {"price_request": 0.1}}], {"optimize_for": "quality"}),
    ("equal but for the name", [{**FREE, "name": "é"}, {**FREE, "name": "z"}], {"optimize_for": "quality"}),
    ("a price that is known comes before one that is not", [{**DARK, "name": "a"}, {**DARK, "name": "b", "prices":
     {"price_request": 9.0}}], {"optimize_for": "quality"}),
    ("an unknown capability", ALL, {"required_capabilities": ["cod"]}),
    ("an unknown tag", ALL, {"tags": ["hipaa"]}),
    ("an unknown region", ALL, {"region": "us"}),
    ("an unknown agent", ALL, {"excluded": ["nobody"]}),
    ("a negative cost", ALL, {"max_cost": -1.0}),
    ("no time at all", ALL, {"max_latency": 0.0}),
    ("more cached than there are", ALL, {"input_tokens": 1.0, "cached_tokens": 2.0}),
    ("a quality beyond 1", ALL, {"min_quality": 1.2}),
    ("a certain interval", ALL, {"level": 1.0}),
    ("weights of nothing", ALL, {"optimize_for": "weights", "weights": {"quality": 0, "cost": 0, "latency": 0}}),
]  # fmt: skip

OUTCOMES: list[tuple[str, list[dict[str, Any]], float | None]] = [
    ("one outcome", [{"at": NOW, "quality": 0.75, "task": "code", "cost": 0.2, "latency": 2.0}], HALF_LIFE),
    ("a cost beside what was expected", [{"at": NOW, "cost": 0.3, "expected_cost": 0.2}], None),
    ("a cost where nothing was to be expected", [{"at": NOW, "cost": 0.3, "expected_cost": 0.0}], None),
    ("a call that failed", [{"at": NOW, "success": False, "latency": 30.0}], HALF_LIFE),
    ("a later one", [{"at": NOW, "quality": 1.0}, {"at": NOW + 30 * DAY, "quality": 0.0}], HALF_LIFE),
    (
        "an earlier one that comes late",
        [{"at": NOW, "quality": 1.0}, {"at": NOW - 60 * DAY, "quality": 0.5}],
        HALF_LIFE,
    ),
    ("nothing fades", [{"at": NOW, "quality": 1.0}, {"at": NOW + 1e9, "quality": 0.0}], None),
    ("many", some_outcomes(4, 12, 0.5), HALF_LIFE),
    ("quality of a call that failed", [{"at": NOW, "quality": 1.0, "success": False}], None),
    ("quality beyond 1", [{"at": NOW, "quality": 1.5}], None),
    ("no time", [{"at": NOW, "latency": 0.0}], None),
    ("a negative cost", [{"at": NOW, "cost": -1.0}], None),
]


def rounded(value: Any) -> Any:
    """Doubles of twelve digits."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def agent_vectors() -> list[Vector]:
    """Choices and outcomes with what must come of them."""
    found: list[Vector] = []
    for explain, agents, query in CHOICES:
        vector: Vector = {"explain": explain, "agents": rounded(agents), "half_life": HALF_LIFE, "query": query}
        try:
            vector["expect"] = rounded(choose(vector["agents"], HALF_LIFE, query))
        except Refusal as refusal:
            vector["expect"] = {"error": refusal.kind}
        found.append(vector)
    for explain, outcomes, half_life in OUTCOMES:
        vector = {"explain": explain, "outcomes": outcomes, "half_life": half_life}
        state: dict[str, Any] = {}
        try:
            for outcome in outcomes:
                state = state_after(state, outcome, half_life)
            vector["state"] = rounded(state)
        except Refusal as refusal:
            vector["state"] = {"error": refusal.kind}
        found.append(vector)
    return found
