"""Expectations + constraints + policy → choice (the engine's ``select.rs``). All arithmetic is in doubles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import Refusal

Header = dict[str, Any]
Feasible = Callable[[int], bool]


@dataclass(frozen=True)
class Options:
    """What a caller asks beyond the request; models by index, and an empty ``allowed`` allows all."""

    max_cost: float | None = None
    min_quality: float | None = None
    max_latency: float | None = None
    allowed: list[int] = field(default_factory=list)
    excluded: list[int] = field(default_factory=list)
    pinned: int | None = None
    threshold: float | None = None
    cost_weight: float | None = None
    expected_output_tokens: float | None = None


@dataclass(frozen=True)
class Expectations:
    """Expected quality, cost (USD), latency (s) and output tokens of every model; None is unknown."""

    quality: list[float]
    cost: list[float | None]
    latency: list[float | None]
    output_tokens: list[float | None]
    prediction_set: list[bool]


@dataclass(frozen=True)
class Choice:
    """The model chosen, and under what.

    ``reason``: gain_worth_cost, gain_too_small, best_value, best_constant, pinned or next_feasible.
    ``routed_by``: learned, default (a constant policy), override (pinned, another threshold or cost weight) or
    constraint (the policy's own choice was removed). ``as_certified``: the policy as shipped
    chose it: no override, no constraint that removed its choice, no other costs.
    """

    model: int
    reason: str
    routed_by: str
    as_certified: bool


@dataclass(frozen=True)
class Decision:
    """The choice, what was expected, and the probability that no other model would have been better."""

    choice: Choice
    expect: Expectations
    confidence: float

    @property
    def model(self) -> int:
        """Index of the model chosen."""
        return self.choice.model

    @property
    def quality(self) -> list[float]:
        """Expected quality of every model."""
        return self.expect.quality


def select(header: Header, options: Options, tokens: int, expect: Expectations) -> Choice:
    """The choice; the order of the steps decides which error wins."""
    check_options(header, options)
    override = overriding_policy(header, options)
    removed = [removal(header, options, tokens, expect, model) for model in range(len(header["models"]))]
    if all(removed):
        raise Refusal("NoFeasibleModel", ", ".join(name for name in removed if name))
    if options.pinned is not None:
        return Choice(options.pinned, "pinned", "override", False)
    policy = override or header["policy"]
    wanted, reason = apply(header, policy, expect)
    if not removed[wanted]:
        constant = header["policy"]["kind"] == "constant"
        routed_by = "override" if override else "default" if constant else "learned"
        # Other output lengths are other costs, so a policy that weighs cost may decide otherwise.
        other_costs = options.expected_output_tokens is not None and policy["kind"] == "cost_weight"
        return Choice(wanted, reason, routed_by, not override and not other_costs)
    model = next_feasible(header, policy, expect, lambda model: not removed[model])
    return Choice(model, "next_feasible", "constraint", False)


def check_options(header: Header, options: Options) -> None:
    """Numbers are finite and ≥ 0, the quality is in [0, 1], models exist."""
    for name in ("max_cost", "max_latency", "expected_output_tokens"):
        number = getattr(options, name)
        if number is not None and not (math.isfinite(number) and number >= 0):
            raise Refusal("OptionInvalid", name)
    if options.min_quality is not None and not 0.0 <= options.min_quality <= 1.0:
        raise Refusal("OptionInvalid", "min_quality")
    if options.expected_output_tokens is not None and options.expected_output_tokens > 1e9:
        raise Refusal("OptionInvalid", "expected_output_tokens")
    named = [*options.allowed, *options.excluded, *([] if options.pinned is None else [options.pinned])]
    if any(model >= len(header["models"]) for model in named):
        raise Refusal("OptionInvalid", "model")


def removal(header: Header, options: Options, tokens: int, expect: Expectations, model: int) -> str | None:
    """The first of the constraints that removes ``model``, or None."""
    if (options.allowed and model not in options.allowed) or model in options.excluded:
        return "name"
    if options.pinned is not None and model != options.pinned:
        return "name"
    window = header["models"][model].get("context_window")
    if window is not None and tokens + (expect.output_tokens[model] or 0.0) > window:
        return "context_window"
    if options.max_cost is not None and known(expect.cost[model], "price") > options.max_cost:
        return "cost"
    if options.max_latency is not None and known(expect.latency[model], "latency") > options.max_latency:
        return "latency"
    if options.min_quality is not None and expect.quality[model] < options.min_quality:
        return "quality"
    return None


def known(number: float | None, name: str) -> float:
    """A number that something asked for depends on."""
    if number is None:
        raise Refusal("OptionInvalid", name)
    return number


def overriding_policy(header: Header, options: Options) -> dict[str, Any] | None:
    """The policy with the caller's threshold or cost weight, if one is given."""
    policy, models = header["policy"], header["models"]
    if options.threshold is None and options.cost_weight is None:
        return None
    if options.threshold is not None and options.cost_weight is not None:
        raise Refusal("OptionInvalid", "threshold")
    if options.threshold is not None:
        if not math.isfinite(options.threshold):
            raise Refusal("OptionInvalid", "threshold")
        if policy["kind"] == "threshold":
            return {**policy, "threshold": options.threshold}
        if len(models) != 2:
            raise Refusal("OptionInvalid", "threshold")
        best = header["best_constant"]
        return {"kind": "threshold", "weak": 1 - best, "strong": best, "threshold": options.threshold}
    weight = options.cost_weight
    if weight is None or not math.isfinite(weight) or weight < 0:
        raise Refusal("OptionInvalid", "cost_weight")
    if policy["kind"] == "cost_weight":
        return {**policy, "cost_weight": weight}
    sources = ("cost", "price_input", "price_output", "price_request")
    priced = all(any(model.get(source) is not None for source in sources) for model in models)
    return {"kind": "cost_weight", "cost_weight": weight, "unit": "usd" if priced else "calls"}


def apply(
    header: Header, policy: dict[str, Any], expect: Expectations, feasible: Feasible = lambda model: True
) -> tuple[int, str]:
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


def value(header: Header, policy: dict[str, Any], expect: Expectations, model: int) -> float:
    """Quality − cost weight · cost; a weight of 0 asks for no cost."""
    weight: float = policy["cost_weight"]
    if weight == 0:
        return expect.quality[model]
    if policy["unit"] == "calls":
        return expect.quality[model] - weight * float(model == header["best_constant"])
    return expect.quality[model] - weight * known(expect.cost[model], "price")


def best_value(header: Header, policy: dict[str, Any], expect: Expectations, feasible: Feasible) -> int:
    """Highest value; of equals the cheaper (where both costs are known), then the lower index.

    Only models that held-out evidence cleared, and the best constant, count; the others where no such is feasible.
    """
    models = [model for model in range(len(header["models"])) if feasible(model)]
    cleared = [m for m in models if header["models"][m].get("cleared", True) or m == header["best_constant"]]
    best: int | None = None
    for model in cleared or models:
        if best is None or is_better(header, policy, expect, model, best):
            best = model
    if best is None:
        raise Refusal("NoFeasibleModel", "models")
    return best


def is_better(header: Header, policy: dict[str, Any], expect: Expectations, model: int, best: int) -> bool:
    """Higher value, or the same and cheaper."""
    worth, most = value(header, policy, expect, model), value(header, policy, expect, best)
    own, other = expect.cost[model], expect.cost[best]
    return worth > most or (worth == most and own is not None and other is not None and own < other)


def next_feasible(header: Header, policy: dict[str, Any], expect: Expectations, feasible: Feasible) -> int:
    """The best model left: by value for a cost weight (with the guard), else by quality."""
    if policy["kind"] == "cost_weight":
        return apply(header, policy, expect, feasible)[0]
    return best_value(header, {"kind": "cost_weight", "cost_weight": 0.0}, expect, feasible)
