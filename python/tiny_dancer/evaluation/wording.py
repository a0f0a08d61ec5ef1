"""The words and numbers both reports share, so that the terminal and the page never disagree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.evaluation.results import Evaluation

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
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent; a dash where undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def money(value: float, unit: str) -> str:
    """A mean cost per request in the evaluation's unit."""
    if not math.isfinite(value):
        return "–"
    return f"${value:.6f}" if unit == "USD" else f"{value:.3f}"


def span(interval: Interval | None, *, signed: bool = False, digits: int = 3) -> str:
    """An estimate with its interval: ``0.573 [0.561, 0.585]``."""
    if interval is None or not math.isfinite(interval.estimate):
        return "–"
    sign = "+" if signed else ""
    text = f"{interval.estimate:{sign}.{digits}f}"
    if not math.isfinite(interval.low):
        return text
    return f"{text} [{interval.low:{sign}.{digits}f}, {interval.high:{sign}.{digits}f}]"


def policy_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the main table: the router and every baseline."""
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
    ]
    return header, rows


def pair_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the weak-strong table."""
    header = ("score", "APGR", "APGR exact", "router minus it", "CPT50", "CPT80")
    pair = evaluation.pair
    rows: list[tuple[str, ...]] = [
        (
            method.title if method.name != "random" else "random",
            span(method.apgr),
            span(method.apgr_exact),
            span(method.gap, signed=True),
            span(method.cpt50),
            span(method.cpt80),
        )
        for method in (pair.methods if pair else ())
    ]
    return header, rows


def model_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the models."""
    header = ("model", "quality", "cost", "share of decisions", "observed", "ECE", "Brier")
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
    ]
    return header, rows


def task_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the tasks."""
    header = ("task", "requests", "router", f"always {evaluation.best}", "difference", "cost of reference")
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


def robustness_table(evaluation: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the flipped decisions."""
    header = ("change", "router flips", "TF-IDF flips")
    return header, [(r.kind, percent(r.flips), percent(r.baseline_flips)) for r in evaluation.robustness]


def basis(evaluation: Evaluation) -> str:
    """One line on what the figures rest on."""
    return (
        f"{evaluation.rows:,} requests in {evaluation.units:,} independent groups, {len(evaluation.models)} "
        f"models, best constant {evaluation.best}; {evaluation.replicates:,} bootstrap replicates, seed "
        f"{evaluation.seed}."
    )
