"""Expectations → the model a policy wants, its weight of cost scaled, and within a conversation (``policy.rs``).

A policy is the header's: ``constant`` (model), ``threshold`` (weak, strong, threshold) or ``cost_weight``
(cost_weight, unit: usd or calls of the best constant).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import Refusal

Header = dict[str, Any]
Policy = dict[str, Any]
Feasible = Callable[[int], bool]


@dataclass(frozen=True)
class Expectations:
    """Expected quality, cost (USD), latency (s) and output tokens of every model; None is unknown.

    ``removed`` says which option removed a model; :func:`~.select.select` fills it in.
    """

    quality: list[float]
    cost: list[float | None]
    latency: list[float | None]
    output_tokens: list[float | None]
    prediction_set: list[bool]
    removed: list[str | None] = field(default_factory=list)


def scaled(policy: Policy, factor: float) -> Policy:
    """The policy with its weight of cost multiplied.

    A threshold below 0 is not lowered by more weight nor raised by less. A constant policy weighs no cost, so only
    no weight at all changes it: then quality alone decides.
    """
    if policy["kind"] == "threshold":
        threshold = policy["threshold"]
        return {**policy, "threshold": threshold + (factor - 1.0) * abs(threshold)}
    if policy["kind"] == "cost_weight":
        return {**policy, "cost_weight": policy["cost_weight"] * factor}
    return {"kind": "cost_weight", "cost_weight": 0.0, "unit": "calls"} if factor == 0 else policy


def choose(header: Header, policy: Policy, expect: Expectations, feasible: Feasible) -> tuple[int, str]:
    """A policy's choice, and why. A cost weight chooses among feasible models; the others ask nobody."""
    if policy["kind"] == "constant":
        return policy["model"], "best_constant"
    if policy["kind"] == "threshold":
        gain = expect.quality[policy["strong"]] - expect.quality[policy["weak"]]
        if gain >= policy["threshold"]:
            return policy["strong"], "gain_worth_cost"
        return policy["weak"], "gain_too_small"
    constant = header["best_constant"]
    best = best_value(header, policy, expect, feasible)
    if best == constant:
        return best, "best_constant"
    if feasible(constant):  # the guard: leave the best constant only for enough
        advantage = value(header, policy, expect, best) - value(header, policy, expect, constant)
        if advantage < header.get("guard_margin", 0.0):
            return constant, "best_constant"
    return best, "best_value"


def value(header: Header, policy: Policy, expect: Expectations, model: int) -> float:
    """Quality − cost weight · cost; a weight of 0 asks for no cost."""
    weight: float = policy["cost_weight"]
    if weight == 0:
        return expect.quality[model]
    if policy["unit"] == "calls":
        return expect.quality[model] - weight * float(model == header["best_constant"])
    cost = expect.cost[model]
    if cost is None:
        raise Refusal("OptionInvalid", "price")
    return expect.quality[model] - weight * cost


def best_value(header: Header, policy: Policy, expect: Expectations, feasible: Feasible) -> int:
    """Highest value; of equals the cheaper (where both costs are known), then the lower index.

    Only models that held-out evidence cleared, and the best constant, count; the others where no such is feasible.
    """
    models = [model for model in range(len(header["models"])) if feasible(model)]
    cleared = [m for m in models if header["models"][m].get("cleared", True) or m == header["best_constant"]]
    # A policy that weighs cost has to know the cost of each, also where it is the only one.
    worth = {model: value(header, policy, expect, model) for model in cleared or models}
    if not worth:
        raise Refusal("NoFeasibleModel", "models")
    best = next(iter(worth))
    for model in worth:
        own, other = expect.cost[model], expect.cost[best]
        cheaper = own is not None and other is not None and own < other
        if worth[model] > worth[best] or (worth[model] == worth[best] and cheaper):
            best = model
    return best


def next_feasible(header: Header, policy: Policy, expect: Expectations, feasible: Feasible) -> int:
    """The best model left: by value for a cost weight (with the guard), else by quality."""
    if policy["kind"] == "cost_weight":
        return choose(header, policy, expect, feasible)[0]
    return best_value(header, {"kind": "cost_weight", "cost_weight": 0.0}, expect, feasible)


def quality_per_dollar(policy: Policy, expect: Expectations) -> float | None:
    """Quality worth one USD: of a threshold, its gain over what the dearer model costs more; or None."""
    if policy["kind"] == "cost_weight" and policy["unit"] == "usd":
        return float(policy["cost_weight"])
    if policy["kind"] == "threshold":
        strong, weak = expect.cost[policy["strong"]], expect.cost[policy["weak"]]
        if strong is not None and weak is not None and strong > weak:
            return max(float(policy["threshold"]), 0.0) / (strong - weak)
    return None


def stays(
    policy: Policy,
    expect: Expectations,
    stay: tuple[int, float | None],
    leave: tuple[int, float | None],
) -> bool:
    """Whether a conversation stays with the model that has it in its cache: where quality − λ · cost is no less.

    Both are a model and its USD with what it has cached; what cannot be priced does not hold a conversation.
    """
    weight, full = quality_per_dollar(policy, expect), expect.cost[stay[0]]
    if weight is None or full is None or stay[1] is None or leave[1] is None or not full > stay[1]:
        return False
    gained = expect.quality[stay[0]] - expect.quality[leave[0]]
    return gained >= weight * (stay[1] - leave[1])
