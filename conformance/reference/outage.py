"""Deciding while the learned policy cannot: by rules, prices and constraints (the engine's ``outage.rs``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .asking import Options
from .errors import Refusal
from .features import featurise
from .policy import Expectations
from .price import Tokens, expected
from .request import Request
from .router import Router, latency
from .select import removal

if TYPE_CHECKING:
    from .features import Features

# Cue, least count, what it means.
RULES = (
    ("log_words", 60, "long: 60 words or more"),
    ("conditions", 2, "several conditions"),
    ("comparisons", 2, "several comparisons"),
    ("latex", 1, "mathematics: formulas"),
    ("operators", 2, "mathematics: operators"),
    ("code_punctuation", 2, "code"),
)
# Only the learned policy can keep to these; a balanced policy is what the artifact has anyway.
LEARNED_ONLY = ("min_quality", "threshold", "cost_weight", "policy")
PLAIN = "short and plain: under 60 words, no rule fires"


def hint(features: Features) -> tuple[bool, str]:
    """Whether a request deserves the strong model, and the first rule that says so."""
    for cue, least, meaning in RULES:
        if features.cues[cue] >= math.log1p(least) - 1e-6:
            return True, meaning
    return False, PLAIN


@dataclass(frozen=True)
class Left:
    """The models that the constraints leave, in order; costs, None where unknown; what removed the others."""

    models: list[int]
    costs: list[float | None]
    removed: list[str | None]


def left(router: Router, options: Options, tokens: int) -> Left:
    """What constraints leave: an answer is as long as on average, and nothing is expected of its quality."""
    models: list[dict[str, Any]] = router.header["models"]
    outputs = [
        model.get("expected_output_tokens")
        if options.expected_output_tokens is None
        else options.expected_output_tokens
        for model in models
    ]
    expect = Expectations(
        quality=[math.nan] * len(models),
        cost=[
            expected(model, Tokens(float(tokens), output=output), 0.0)
            for model, output in zip(models, outputs, strict=True)
        ],
        latency=[latency(model, tokens) for model in models],
        output_tokens=outputs,
        prediction_set=[True] * len(models),
    )
    removed = [removal(model, options, tokens, expect, at) for at, model in enumerate(models)]
    if all(removed):
        raise Refusal("NoFeasibleModel", ", ".join(name for name in removed if name))
    return Left([at for at, by in enumerate(removed) if by is None], expect.cost, removed)


def answer(router: Router, request: str, options: str, why: str) -> dict[str, Any]:
    """What is decided of a request given as JSON, with options as JSON, while the learned policy cannot."""
    asked = Options.from_json(options)
    read = Request.from_json(request)
    asked.check(router.names)
    features = featurise(read, router.encoder, router.spec)
    of = left(router, asked, features.tokens)
    header, names = router.header, router.names
    best = header["best_constant"]

    def price(model: int) -> float:
        cost = of.costs[model]
        return -math.inf if cost is None else cost

    strong = best if best in of.models else max(of.models, key=price)
    if header["policy"]["kind"] == "threshold":
        weak = header["policy"]["weak"]
        light = weak if weak in of.models else None
    else:
        cleared = [at for at in of.models if header["models"][at].get("cleared", True) and price(at) > -math.inf]
        light = min(cleared, key=price, default=None)
    unseen = [name for name in LEARNED_ONLY if getattr(asked, name) not in (None, "balanced")]
    if asked.pin is not None:
        model, level, reason, by, said = names.index(asked.pin), 3, "pinned", "override", "pinned by the caller"
    elif light is not None and not unseen:
        deserves, rule = hint(features)
        model, level, reason, by = strong if deserves else light, 2, "heuristic_rule", "heuristic"
        said = f"rule: {rule}"
    else:
        model, level, reason, by = strong, 3, "default_model", "default"
        said = f"{'the' if strong == best else 'in place of the'} default model"
        if unseen:
            said += f"; {' and '.join(unseen)} cannot be judged here"
    # Of scores, costs, latencies, quality, confidence, likeness and guarantee nothing is known: all are null.
    return {
        "model": names[model],
        "tokens": features.tokens,
        "removed": {names[at]: by for at, by in enumerate(of.removed) if by is not None},
        "reason": reason,
        "routed_by": by,
        "level": level,
        "level_reason": f"{why}; {said}",
    }
