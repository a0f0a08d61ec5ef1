"""Route, do not route, or not enough data: the rule that turns paired intervals into words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tiny_dancer.evaluation.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.evaluation.bootstrap import Interval

FEWEST_UNITS = 100
WORTHWHILE = 0.01
SIMPLE_RULES = {"length": "prompt length alone", "tfidf": "a plain TF-IDF ridge"}
# Rules that need no training: who can have as much for nothing should. A TF-IDF ridge is trained on outcomes too,
# so being no better than it speaks against routing with this router only where it is clearly worse.
UNTRAINED = frozenset({"length"})


def _points(value: float) -> str:
    return f"{100 * value:+z.1f}"


def _span(interval: Interval) -> str:
    return f"{_points(interval.estimate)} points (95 % {_points(interval.low)} to {_points(interval.high)})"


def decide(
    *,
    models: int,
    units: int,
    leaves: float,
    reference: str,
    gap_reference: Interval,
    cost_ratio: Interval,
    gaps: Mapping[str, Interval],
    curve_gaps: Mapping[str, Interval],
    trained_on: float = 0.0,
) -> Verdict:
    """The verdict, from the first of these that applies.

    1. One model: do not route. Rows that were trained on, or fewer than 100 independent units: not enough data.
    2. Is there something to learn? The router's mean quality over matched costs against the best random mix:
       not clear of 0 and at most one point (0.01) possible = do not route; not clear and more possible = not
       enough data.
    3. Is it this router? The same against prompt length and TF-IDF: worse, or level within a point = do not
       route with this one; undecided = not enough data.
    4. Does it pay as it is set? It must leave the reference, not lose to the random mix at its own cost, and
       be cheaper or better than the reference, with the interval clear.

    Args:
        models: number of models.
        units: independent groups evaluated.
        leaves: share of requests not sent to the reference.
        reference: its name.
        gap_reference: the router's quality minus the reference's.
        cost_ratio: the router's cost over the reference's (NaN where the reference is free).
        gaps: the router's quality minus a baseline's at the router's own cost, by name.
        curve_gaps: the same averaged over matched costs; empty where the best model is the cheapest.
        trained_on: share of the rows that the router was trained on.
    """
    if models < 2:
        return Verdict("do not route", "Do not route: there is only one model.", ("Nothing to choose from.",))
    if trained_on:
        return Verdict(
            "not enough data",
            f"Not enough data: about {trained_on:.0%} of these rows were trained on: every figure is optimistic.",
            ("What a router was trained on says little of new requests: judge it on rows held out.",),
        )
    if units < FEWEST_UNITS:
        return Verdict(
            "not enough data",
            f"Not enough data: {units} independent requests.",
            (f"Below {FEWEST_UNITS} independent requests the intervals themselves cannot be trusted.",),
        )
    evidence = curve_gaps if "random" in curve_gaps else gaps
    where = "over matched costs" if evidence is curve_gaps else "at the same cost"
    chance = evidence["random"]
    if math.isnan(chance.low):
        return Verdict(
            "not enough data",
            "Not enough data: the router cannot be compared with a random mix of models.",
            ("Too few requests have the outcomes of both.",),
        )
    if not chance.above_zero:
        found = f"Against a random mix of models {where} the router's quality differs by {_span(chance)}."
        if chance.high < WORTHWHILE:
            return Verdict("do not route", "Do not route: reading the request gains next to nothing.", (found,))
        return Verdict(
            "not enough data",
            "Not enough data: the router cannot be told from a random mix yet.",
            (found, "A gain of a point or more remains possible; more outcomes would tell."),
        )
    reasons = [f"Against a random mix of models {where} it is {_span(chance)} in quality."]
    verdict = _against_simple_rules(evidence, where, reasons)
    return verdict or _as_it_is_set(leaves, reference, gap_reference, cost_ratio, gaps, reasons)


def _against_simple_rules(evidence: Mapping[str, Interval], where: str, reasons: list[str]) -> Verdict | None:
    """Whether a simpler rule does as well; adds a reason for each one beaten."""
    undecided: str | None = None
    for name, words in SIMPLE_RULES.items():
        gap = evidence.get(name)
        if gap is None or math.isnan(gap.low):
            continue
        found = f"Against {words} {where} it is {_span(gap)}."
        if gap.above_zero:
            reasons.append(found)
        elif name not in UNTRAINED and not gap.below_zero:
            reasons.append(f"{found} That much simpler a method may do here.")
        elif gap.high < WORTHWHILE or gap.below_zero:
            worse = "better" if gap.below_zero else "as well"
            return Verdict(
                "do not route",
                f"Do not route with this router: {words} does {worse}.",
                (found, *reasons),
            )
        else:
            undecided = undecided or words
            reasons.insert(0, found)
    if undecided is None:
        return None
    return Verdict(
        "not enough data",
        f"Not enough data: it beats chance, but cannot be told from {undecided} yet.",
        tuple(reasons),
    )


def _as_it_is_set(
    leaves: float,
    reference: str,
    gap_reference: Interval,
    cost_ratio: Interval,
    gaps: Mapping[str, Interval],
    reasons: list[str],
) -> Verdict:
    """Whether the decisions as they are pay against always using the reference."""
    against = f"Against always {reference} quality changes by {_span(gap_reference)}"
    if math.isfinite(cost_ratio.estimate):
        against += (
            f" at {cost_ratio.estimate:.0%} of its cost (95 % {cost_ratio.low:.0%} to {cost_ratio.high:.0%})."
        )
    else:
        against += "; its cost is zero, so there is nothing to save."
    if leaves == 0:
        return Verdict(
            "do not route",
            f"Do not route as set: every request goes to {reference}.",
            (
                "The forecasts carry information, but no saving at equal quality is proven; to use them, "
                "accept a quality loss (calibrate).",
                *reasons,
            ),
        )
    at_cost = gaps.get("random")
    if at_cost is not None and at_cost.below_zero:
        return Verdict(
            "do not route",
            "Do not route as set: at this cost a random mix of models does better.",
            (f"At the same cost the decisions are {_span(at_cost)} against a random mix.", against, *reasons),
        )
    cheaper, better = cost_ratio.high < 1, gap_reference.above_zero
    if not cheaper and not better:
        return Verdict(
            "do not route",
            f"Do not route as set: it is neither cheaper nor better than always {reference}.",
            (against, *reasons),
        )
    saving = 1 - cost_ratio.estimate
    if better:
        gain = f"{_points(gap_reference.estimate)} points of quality over always {reference}"
        cost = f", {saving:.0%} cheaper" if cheaper else ""
        headline = f"Route: {gain}{cost}."
    elif gap_reference.low >= -WORTHWHILE:
        headline = f"Route: {saving:.0%} cheaper than always {reference}, with quality the same within a point."
    elif gap_reference.below_zero:
        lost = _points(-gap_reference.estimate).lstrip("+")
        headline = f"Route: {saving:.0%} cheaper than always {reference} if {lost} points of quality may go."
    else:
        headline = (
            f"Route: {saving:.0%} cheaper than always {reference}; quality may drop by up to "
            f"{_points(-gap_reference.low).lstrip('+')} points (95 %)."
        )
    return Verdict("route", headline, (against, *reasons))
