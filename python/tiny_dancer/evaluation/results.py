"""What an evaluation holds: frozen dataclasses of plain values, ready for JSON (NaN becomes null)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tiny_dancer.evaluation.bootstrap import Interval  # noqa: TC001  (msgspec resolves it)
from tiny_dancer.types import bound_in_words

Choice = Literal["route", "do not route", "not enough data"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to route at all.

    Attributes:
        choice: the verdict.
        headline: one sentence.
        reasons: why, one sentence each, the deciding one first.
    """

    choice: Choice
    headline: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """One policy beside the router; intervals are paired over the same requests.

    Attributes:
        name: ``router``, ``always <model>``, ``random``, ``shuffle``, ``length``, ``tfidf`` or ``oracle``.
        title: the name in words.
        quality: mean quality.
        cost: mean cost per request, in the evaluation's unit.
        gap: router's quality minus this one's; None for the router.
        curve: mean quality over evenly spaced mean costs from the cheapest to the best constant; None where
            the policy has no such curve.
        curve_gap: router's ``curve`` minus this one's.
        aiq: RouterBench's area under the hull over the same costs; None where there is no curve.
        rows: requests on which it is observed.
    """

    name: str
    title: str
    quality: Interval
    cost: float
    gap: Interval | None
    curve: Interval | None
    curve_gap: Interval | None
    aiq: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class PairMethod:
    """One score on the pair; ``gap`` is the router's binned APGR minus this one's."""

    name: str
    title: str
    apgr: Interval
    apgr_exact: Interval
    cpt50: Interval
    cpt80: Interval
    cpt50_exact: Interval
    cpt80_exact: Interval
    gap: Interval | None
    share: tuple[float, ...]
    quality: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairView:
    """RouteLLM's view: one weak and one strong model. ``defined`` is False where strong is not the better."""

    weak: str
    strong: str
    quality_weak: float
    quality_strong: float
    rows: int
    dropped: int
    defined: bool
    methods: tuple[PairMethod, ...]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model: its means over comparable rows, its share of the router's calls, its forecast's error."""

    name: str
    quality: float
    cost: float
    share: float
    observed: int
    calibration_error: float
    brier: float


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """One task: the router beside the best constant, and its cost over the reference's."""

    name: str
    rows: int
    quality: float
    best_quality: float
    gap: Interval
    cost_ratio: float


@dataclass(frozen=True, slots=True)
class CurveFigures:
    """A cost-quality curve; ``low`` and ``high`` are its 95 % band, empty where there is none."""

    name: str
    title: str
    cost: tuple[float, ...]
    quality: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """Forecasts against outcomes over all models: equal-mass bins, error and Brier score."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    calibration_error: float
    brier: float


@dataclass(frozen=True, slots=True)
class RobustnessFigures:
    """Share of decisions that change under one kind of harmless change; the TF-IDF baseline's where known."""

    kind: str
    flips: float
    baseline_flips: float | None = None


@dataclass(frozen=True, slots=True)
class GuaranteeFigures:
    """The certificate the decisions stand under, or the attempt.

    Attributes:
        certified: whether a policy was certified.
        risk: ``mean``, ``harm``, ``routed`` or ``cost``; see :class:`tiny_dancer.Guarantee`.
        reference: the model quality is compared with.
        epsilon: bound on the quality given up.
        delta: chance that the bound does not hold, at most.
        n: independent units it rests on.
        p_value: of the certified policy, or of the safest where none is.
        rows_needed: where none is certified: units it would take; None if more would not help.
        date: given by the caller.
        budget: USD that a request may cost, for the risk ``cost``.
        batch: requests in a batch, for the risk ``cost``.
    """

    certified: bool
    risk: str
    reference: str
    epsilon: float
    delta: float
    n: int
    p_value: float | None = None
    rows_needed: int | None = None
    date: str | None = None
    budget: float | None = None
    batch: int | None = None

    def text(self) -> str:
        """The certificate in words."""
        what = bound_in_words(self.risk, self.reference, self.epsilon, self.budget, self.batch)
        if self.certified:
            return (
                f"Certified: {what} with confidence "
                f"{1 - self.delta:.0%}, from {self.n:,} independent held-out requests"
                + (f" (p = {self.p_value:.2g})" if self.p_value is not None else "")
                + (f", {self.date}." if self.date else ".")
            )
        more = (
            f"About {self.rows_needed:,} independent requests would do at the risk observed."
            if self.rows_needed is not None
            else "More requests like these would not help: the observed risk is not below the bound."
        )
        return (
            f"Not certified: {self.n:,} independent requests do not show {what} "
            f"with confidence {1 - self.delta:.0%}. {more}"
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything a report shows.

    Attributes:
        title: what was evaluated.
        rows: requests evaluated.
        units: independent groups among them.
        best: the best constant model.
        reference: the model ``router`` is compared with first (the best constant unless given).
        cost_unit: ``USD``, ``calls of <model>`` (of two without costs) or ``calls`` (of more).
        cost_ratio: the router's cost against the reference's.
        gap_reference: the router's quality minus the reference's.
        policies: the router first, then every baseline.
        curves: cost-quality curves.
        pair: the weak-strong view, or None where there is no pair.
        models: one per model, in table order.
        tasks: one per task, by number of rows.
        calibration: of the forecasts.
        robustness: shares of flipped decisions, where the caller measured them.
        guarantee: the certificate, where the caller has one.
        verdict: route, do not route or not enough data.
        notes: what had to be left out or filled in.
        replicates: of the bootstrap.
        seed: of the bootstrap and the baselines' folds.
        trained_on: share of the rows that the router was trained on; above 0 the figures are optimistic, and the
            verdict says so.
    """

    title: str
    rows: int
    units: int
    best: str
    reference: str
    cost_unit: str
    cost_ratio: Interval
    gap_reference: Interval
    policies: tuple[PolicyFigures, ...]
    curves: tuple[CurveFigures, ...]
    pair: PairView | None
    models: tuple[ModelFigures, ...]
    tasks: tuple[TaskFigures, ...]
    calibration: CalibrationFigures | None
    robustness: tuple[RobustnessFigures, ...]
    guarantee: GuaranteeFigures | None
    verdict: Verdict
    notes: tuple[str, ...]
    replicates: int
    seed: int
    trained_on: float = 0.0


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain dicts, lists and numbers; what is undefined is None."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(evaluation))
    return plain
