"""The words and numbers both reports share, so that the terminal and the page never disagree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.evaluation.results import Evaluation

MOST_MODELS = 16
"""Models that a table or a plot shows before it says how many others there are."""
_CONSTANT = "always "
UNDEFINED = "–"

Content: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows of a table."""

READING = (
    (
        "Intervals",
        "are 95 % paired bootstrap intervals over the same requests, resampled by group; where fewer than 30 "
        "groups tell a mean, intervals by betting, which hold for rare events too. A difference is evidence where "
        "its interval excludes zero.",
    ),
    (
        "At the same cost",
        "means: the baseline is tuned to spend what the router spends, so a difference is knowledge of the "
        "request and not money. Random mix is the best random choice between constant models; shuffle deals "
        "out the router's own decisions at random; length sends the longest prompts to the dearer model; "
        "TF-IDF is a ridge regression on word n-grams, fitted out of fold on these very requests.",
    ),
    (
        "Over matched costs",
        "is the mean quality over evenly spaced budgets from the cheapest to the best constant. AIQ is "
        "RouterBench's area under the non-decreasing hull over the same range.",
    ),
    (
        "APGR",
        "is the share of the gap between the weak and the strong model recovered, averaged over all splits "
        "of the calls, as RouteLLM computes it (ten equal-count bins; 'exact' uses every threshold). "
        "Random gets 0.5.",
    ),
    ("CPT", "50 (80) is the share of calls to the strong model that recovers 50 % (80 %) of the gap."),
    (
        "The oracle",
        "picks the best model after the fact. It counts lucky guesses, so nobody reaches it.",
    ),
    (
        "The guarantee",
        "holds for requests drawn like the calibration rows and ends when the traffic drifts.",
    ),
)


def number(value: float | None, digits: int = 3) -> str:
    """A plain number; a dash where undefined."""
    return UNDEFINED if value is None or not math.isfinite(value) else f"{value:z.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent; a dash where undefined."""
    return UNDEFINED if value is None or not math.isfinite(value) else f"{100 * value:z.{digits}f} %"


def money(value: float, unit: str) -> str:
    """A mean cost per request in the evaluation's unit."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"${value:z.6f}" if unit == "USD" else f"{value:z.3f}"


def span(interval: Interval | None, *, signed: bool = False, digits: int = 3) -> str:
    """An estimate with its interval: ``0.573 [0.561, 0.585]``."""
    if interval is None or not math.isfinite(interval.estimate):
        return UNDEFINED
    sign = "+" if signed else ""
    text = f"{interval.estimate:{sign}z.{digits}f}"
    if not math.isfinite(interval.low):
        return text
    return f"{text} [{interval.low:{sign}z.{digits}f}, {interval.high:{sign}z.{digits}f}]"


def main_models(evaluation: Evaluation) -> frozenset[str]:
    """Of many models those to show first: best constant and reference, those called most, then the best.

    All of them where they are :data:`MOST_MODELS` at most.
    """
    kept = {evaluation.best, evaluation.reference}
    order = sorted(
        evaluation.models,
        key=lambda each: (
            each.name not in kept,
            -each.share,
            -each.quality if math.isfinite(each.quality) else math.inf,
        ),
    )
    return frozenset(each.name for each in order[:MOST_MODELS])


def some_of(evaluation: Evaluation) -> str:
    """Words for a title where :func:`main_models` leaves models out; else nothing."""
    every = len(evaluation.models)
    return f"{MOST_MODELS} of {every} models: called most, then best" if every > MOST_MODELS else ""


def policy_table(evaluation: Evaluation, models: frozenset[str] | None = None) -> Content:
    """Header and rows of the main table: the router and every baseline; of constants, these models' alone."""
    header = (
        "policy",
        "quality",
        "cost",
        "router minus it",
        "over matched costs",
        "router minus it",
        "AIQ",
    )
    rows: list[tuple[str, ...]] = [
        (
            policy.title,
            span(policy.quality),
            money(policy.cost, evaluation.cost_unit),
            span(policy.gap, signed=True),
            span(policy.curve),
            span(policy.curve_gap, signed=True),
            number(policy.aiq),
        )
        for policy in evaluation.policies
        if models is None or not policy.name.startswith(_CONSTANT) or policy.name.removeprefix(_CONSTANT) in models
    ]
    return header, rows


def pair_table(evaluation: Evaluation, *, brief: bool = False) -> Content:
    """Header and rows of the weak-strong table; the brief one gives shares of calls without intervals."""

    def calls(share: Interval) -> str:
        return number(share.estimate) if brief else span(share)

    header = ("score", "APGR", "APGR exact", "router minus it", "CPT50", "CPT80")
    pair = evaluation.pair
    rows: list[tuple[str, ...]] = [
        (
            method.title if method.name != "random" else "random",
            span(method.apgr),
            span(method.apgr_exact),
            span(method.gap, signed=True),
            calls(method.cpt50),
            calls(method.cpt80),
        )
        for method in (pair.methods if pair else ())
    ]
    return header, rows


def model_table(evaluation: Evaluation, models: frozenset[str] | None = None) -> Content:
    """Header and rows of the models, or of these alone."""
    header = ("model", "quality", "cost", "decisions", "observed", "ECE", "Brier")
    rows: list[tuple[str, ...]] = [
        (
            model.name,
            number(model.quality),
            money(model.cost, evaluation.cost_unit),
            percent(model.share),
            f"{model.observed:,}",
            number(model.calibration_error),
            number(model.brier),
        )
        for model in evaluation.models
        if models is None or model.name in models
    ]
    return header, rows


def task_table(evaluation: Evaluation) -> Content:
    """Header and rows of the tasks."""
    header = ("task", "requests", "router", "best constant", "difference", "cost of reference")
    rows: list[tuple[str, ...]] = [
        (
            task.name,
            f"{task.rows:,}",
            number(task.quality),
            number(task.best_quality),
            span(task.gap, signed=True),
            percent(task.cost_ratio),
        )
        for task in evaluation.tasks
    ]
    return header, rows


def robustness_table(evaluation: Evaluation) -> Content:
    """Header and rows of the flipped decisions."""
    header: tuple[str, ...] = ("change", "router flips", "TF-IDF flips")
    rows: list[tuple[str, ...]] = [
        (each.kind, percent(each.flips), percent(each.baseline_flips)) for each in evaluation.robustness
    ]
    if all(each.baseline_flips is None for each in evaluation.robustness):
        return header[:2], [row[:2] for row in rows]
    return header, rows


def basis(evaluation: Evaluation) -> str:
    """One line on what the figures rest on."""
    return (
        f"{evaluation.rows:,} requests in {evaluation.units:,} independent groups, {len(evaluation.models)} "
        f"models, best constant {evaluation.best}; {evaluation.replicates:,} bootstrap replicates, seed "
        f"{evaluation.seed}."
    )
