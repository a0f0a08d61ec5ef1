"""What an answer costs (the engine's ``price.rs``). All arithmetic is in doubles; None is unknown.

A model of a header is a dictionary; its prices are USD: ``price_input`` and ``price_output`` per token,
``price_request`` per request, ``price_cached_input`` per prompt token read from the model's cache,
``price_cache_write`` per prompt token written into it, and ``price_tiers`` for long prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Model = dict[str, Any]
MOST_TIERS = 16
LARGEST_NUMBER = 1e9
PRICES = ("price_input", "price_output", "price_request", "price_cached_input", "price_cache_write")
TIER = ("input", "output", "cached_input", "cache_write")


@dataclass(frozen=True)
class Tokens:
    """Tokens of one request: the whole prompt, of it read from the cache and written into it, and the answer."""

    prompt: float
    cached: float = 0.0
    written: float = 0.0
    output: float | None = None


def is_any(model: Model) -> bool:
    """Whether the model has a price at all."""
    return any(model.get(name) is not None for name in ("price_input", "price_output", "price_request"))


def is_incomplete(model: Model) -> bool:
    """Whether a kind of token has a price and another has none in front: it would count as free."""

    def priced(*names: str) -> bool:
        return any(model.get(f"price_{name}") is not None for name in names)

    if priced("input", "output"):
        return not (priced("input") and priced("output"))
    in_a_tier = not priced("request") and any(
        tier.get(name) is not None for tier in model.get("price_tiers") or [] for name in TIER
    )
    return priced("cached_input", "cache_write") or in_a_tier


def charges_the_same(a: Model, b: Model) -> bool:
    """Whether all that a cost depends on is the same for both, what is read from a cache included."""
    fields = (*PRICES, "price_tiers", "expected_output_tokens", "cost", "cost_seen")
    return all(a.get(field) == b.get(field) for field in fields)


def is_priced(model: Model) -> bool:
    """Whether anything says what it costs."""
    return is_any(model) or model.get("cost") is not None


def by_prices(model: Model, tokens: Tokens) -> float | None:
    """USD by the model's prices. A kind of token without a price is free; a cached one costs what others do."""
    if not is_any(model):
        return None
    # A long prompt is priced whole by the highest of the tiers that it exceeds; of equally high ones by the last.
    passed = [tier for tier in model.get("price_tiers") or [] if tokens.prompt > tier["above"]]
    tier: dict[str, Any] = sorted([{"above": -1.0}, *passed], key=lambda each: float(each["above"]))[-1]

    def rate(name: str) -> float | None:
        found = tier.get(name)
        own: float | None = model.get(f"price_{name}")
        return own if found is None else float(found)

    price = rate("input") or 0.0
    cached = min(max(tokens.cached, 0.0), max(tokens.prompt, 0.0))
    written = min(max(tokens.written, 0.0), max(tokens.prompt - cached, 0.0))
    cost = (model.get("price_request") or 0.0) + price * (tokens.prompt - cached - written)
    for count, own in ((cached, rate("cached_input")), (written, rate("cache_write"))):
        if count > 0.0:
            cost += (price if own is None else own) * count
    output = rate("output")
    if not output:
        return cost
    return None if tokens.output is None else cost + output * tokens.output


def measured(model: Model, prompt: float, verbosity: float) -> float | None:
    """USD as measured, of [constant, per prompt token, per unit of the verbosity score].

    Where it is known what was seen (``cost_seen``), the line holds between the shortest and the longest prompt,
    within the costs seen; beyond either a token costs ``per_token``, and no prompt costs less per token.
    """
    if model.get("cost") is None:
        return None
    constant, per_token, per_verbosity = model["cost"]
    seen = model.get("cost_seen")
    if seen is None:
        return max(float(constant + per_token * prompt + per_verbosity * verbosity), 0.0)

    def between(value: float, ends: list[float]) -> float:
        return min(max(value, ends[0]), ends[1])

    inside = between(prompt, seen["tokens"])
    line = constant + per_token * inside + per_verbosity * between(verbosity, seen["verbosity"])
    least: float = seen["per_token"]
    return max(max(between(line, seen["cost"]), least * inside) + least * (prompt - inside), 0.0)


def expected(model: Model, tokens: Tokens, verbosity: float) -> float | None:
    """USD by prices where any is known, else as measured."""
    return by_prices(model, tokens) if is_any(model) else measured(model, tokens.prompt, verbosity)


def same(one: float | None, other: float | None) -> bool:
    """Whether two prices are one: the last digits depend on how somebody has divided by a million."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 1e-9 * max(abs(one), abs(other))


def costs_the_same(one: Model, other: Model) -> bool:
    """Whether every request without cached tokens is expected to cost the same at both."""
    tiers, others = one.get("price_tiers") or [], other.get("price_tiers") or []
    fields = ["price_input", "price_output", "price_request"]
    if any([one.get("price_output"), *(tier.get("output") for tier in tiers)]):
        fields.append("expected_output_tokens")
    return (
        all(same(one.get(name), other.get(name)) for name in fields)
        and len(tiers) == len(others)
        and all(
            same(a.get(name), b.get(name))
            for a, b in zip(tiers, others, strict=True)
            for name in ("above", "input", "output")
        )
        and (is_any(one) or all(one.get(name) == other.get(name) for name in ("cost", "cost_seen")))
    )


def is_sound(model: Model) -> bool:
    """Whether every price and coefficient is a number that can be reckoned with."""
    tiers = model.get("price_tiers", [])
    if not isinstance(tiers, list) or len(tiers) > MOST_TIERS:
        return False
    if not all(isinstance(tier, dict) and "above" in tier and set(tier) <= {"above", *TIER} for tier in tiers):
        return False
    prices = [model.get(name) for name in (*PRICES, "expected_output_tokens")]
    prices += [tier.get(name) for tier in tiers for name in TIER] + [tier["above"] for tier in tiers]
    coefficients = [*(model.get("cost") or []), *(model.get("latency") or [])]
    return (
        all(price is None or (is_number(price) and price >= 0) for price in prices)
        and all(map(is_number, coefficients))
        and (model.get("cost_seen") is None or is_sound_range(model["cost_seen"]))
    )


def is_sound_range(seen: Any) -> bool:
    """Whether ``cost_seen`` says between what costs were measured: in order, and only the verbosity below 0."""
    if not isinstance(seen, dict) or set(seen) != {"tokens", "verbosity", "cost", "per_token"}:
        return False
    ends = [seen["tokens"], seen["verbosity"], seen["cost"]]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in ends):
        return False
    sizes = [*seen["tokens"], *seen["cost"], seen["per_token"]]
    return all(low <= high for low, high in ends) and all(is_number(size) and size >= 0 for size in sizes)


def is_number(value: Any) -> bool:
    """A finite number within ± 1e9."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) <= LARGEST_NUMBER
