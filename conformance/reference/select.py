"""Expectations + options → choice (the engine's ``select.rs``). All arithmetic is in doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .asking import SCALES
from .errors import Refusal
from .policy import Expectations, Header, Policy, choose, next_feasible, scaled, stays
from .price import Tokens, by_prices, is_priced

if TYPE_CHECKING:
    from .asking import Options

# Why a decision stands under no certificate.
UNCERTIFIED = "the artifact carries no certificate; see calibrate"
OTHER_MODELS = "the certificate was earned with other models"
OTHER_PRICES = "the certificate was earned with other prices or output lengths, which its policy weighs"
OVERRIDDEN = "overridden by the caller"
CONSTRAINED = "a constraint changed the choice"
STAYED = "the conversation stayed with the model that has it in its cache"
DECLARED = "a model was added without outcomes: what is expected of it is declared, not measured"
# What a header says under ``certificate_ended``, once a change of models has taken the certificate out.
ENDED = {"other_models": OTHER_MODELS, "other_prices": OTHER_PRICES, "declared": DECLARED}
UNLIKE = "the request is unlike those the certificate was earned on (see likeness)"
OTHER_COSTS = "other output lengths are expected than those it was earned with"


@dataclass(frozen=True)
class Choice:
    """The model chosen, and under what.

    ``reason``: gain_worth_cost, gain_too_small, best_value, best_constant, pinned, next_feasible or prompt_cached.
    ``routed_by``: learned, default (a constant policy), override (pinned, another threshold, cost weight or
    policy), constraint (the policy's own choice was removed) or session (the conversation stays where it is).
    ``uncovered``: why it is not the choice the policy was certified for; empty where it is.
    """

    model: int
    reason: str
    routed_by: str
    uncovered: str = ""


def select(header: Header, options: Options, tokens: int, expect: Expectations) -> Choice:
    """The choice, of options that were checked; the order of the steps decides which error wins."""
    override = overriding_policy(header, options)
    models: list[dict[str, Any]] = header["models"]
    expect.removed[:] = [removal(model, options, tokens, expect, at) for at, model in enumerate(models)]
    if all(expect.removed):
        raise Refusal("NoFeasibleModel", ", ".join(name for name in expect.removed if name))
    names = [model["name"] for model in models]
    if options.pin is not None:
        return Choice(names.index(options.pin), "pinned", "override", OVERRIDDEN)

    def feasible(model: int) -> bool:
        return expect.removed[model] is None

    policy = override or header["policy"]
    wanted, reason = choose(header, policy, expect, lambda model: True)
    if not feasible(wanted):
        model = next_feasible(header, policy, expect, feasible)
        choice = Choice(model, "next_feasible", "constraint", CONSTRAINED)
    elif override:
        choice = Choice(wanted, reason, "override", OVERRIDDEN)
    else:
        # Other output lengths are other costs, so a policy that weighs cost may decide otherwise.
        other_costs = options.expected_output_tokens is not None and policy["kind"] == "cost_weight"
        routed_by = "default" if policy["kind"] == "constant" else "learned"
        choice = Choice(wanted, reason, routed_by, OTHER_COSTS if other_costs else "")
    if options.current is None:
        return choice

    def with_cache(model: int) -> tuple[int, float | None]:
        return model, cached_cost(models[model], options, tokens, expect, model)

    stay = names.index(options.current)
    if stay == choice.model or not feasible(stay):
        return choice
    if not stays(policy, expect, with_cache(stay), with_cache(choice.model)):
        return choice
    return Choice(stay, "prompt_cached", "session", STAYED)


def removal(model: dict[str, Any], options: Options, tokens: int, expect: Expectations, at: int) -> str | None:
    """The first of the options that removes a model, or None."""
    if options.pin is not None and model["name"] != options.pin:
        return "pin"
    if model["name"] in options.exclude:
        return "exclude"
    if options.allowed and model["name"] not in options.allowed:
        return "allowed"
    window = model.get("context_window")
    if window is not None and tokens + (expect.output_tokens[at] or 0.0) > window:
        return "context_window"
    if options.max_cost is not None and known(expect.cost[at], "price") > options.max_cost:
        return "max_cost"
    if options.max_latency is not None and known(expect.latency[at], "latency") > options.max_latency:
        return "max_latency"
    if options.min_quality is not None and expect.quality[at] < options.min_quality:
        return "min_quality"
    return None


def known(number: float | None, name: str) -> float:
    """A number that something asked for depends on."""
    if number is None:
        raise Refusal("OptionInvalid", name)
    return number


def cached_cost(
    model: dict[str, Any], options: Options, tokens: int, expect: Expectations, at: int
) -> float | None:
    """USD with what the model has of the prompt in its cache; one that costs more than it saves is not read."""
    cached, full = options.cached_tokens.get(model["name"], 0.0), expect.cost[at]
    if cached == 0.0:
        return full
    cost = by_prices(model, Tokens(float(tokens), cached=cached, output=expect.output_tokens[at]))
    return full if cost is None else cost if full is None else min(cost, full)


def overriding_policy(header: Header, options: Options) -> Policy | None:
    """The policy that a threshold, a cost weight or a name asks for, if it is another than the header's."""
    given = given_policy(header, options)
    if options.policy is None:
        return given
    scale = SCALES[options.policy]
    if given is not None:
        return scaled(given, scale)
    named = header.get("policies")
    if named is None:
        found = scaled(header["policy"], scale)
    elif options.policy == named["in_force"]:
        return None
    else:
        found = named[options.policy]
    # Twice nothing is nothing: the policy is the header's still.
    return None if found == header["policy"] else found


def given_policy(header: Header, options: Options) -> Policy | None:
    """The policy with the caller's threshold or cost weight, if one is given."""
    policy, models = header["policy"], header["models"]
    if options.threshold is not None:
        if policy["kind"] == "threshold":
            return {**policy, "threshold": options.threshold}
        if len(models) != 2:
            raise Refusal("OptionInvalid", "threshold")
        best = header["best_constant"]
        return {"kind": "threshold", "weak": 1 - best, "strong": best, "threshold": options.threshold}
    if options.cost_weight is not None:
        if policy["kind"] == "cost_weight":
            return {**policy, "cost_weight": options.cost_weight}
        unit = "usd" if all(map(is_priced, models)) else "calls"
        return {"kind": "cost_weight", "cost_weight": options.cost_weight, "unit": unit}
    return None
