"""From forecasts, decisions and outcomes to an ``Evaluation``: the router beside what it has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation import baselines
from tiny_dancer.evaluation.bootstrap import Bootstrap, mean_statistics, paired_bootstrap
from tiny_dancer.evaluation.groups import independent
from tiny_dancer.evaluation.metrics import aiq
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.evaluation.pair import PairScores, choose_pair, pair_scores, pair_view
from tiny_dancer.evaluation.results import (
    CurveFigures,
    Evaluation,
    GuaranteeFigures,
    PolicyFigures,
    RobustnessFigures,
)
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.evaluation.tables import calibration_figures, model_figures, task_figures, task_rows
from tiny_dancer.evaluation.verdict import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.missing import Observed
    from tiny_dancer.types import Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

MATCHED_COSTS = 21
FOLDS = 5
TITLES = {
    "router": "router",
    "random": "random mix at the same cost",
    "shuffle": "its own decisions, shuffled",
    "length": "prompt length",
    "tfidf": "TF-IDF ridge",
    "oracle": "oracle (ceiling)",
}


UNBOUNDED = (float("nan"), float("nan"))
QUALITY = (0.0, 1.0)
GAP = (-1.0, 1.0)


class _Columns:
    """Row-wise values whose means are bootstrapped together."""

    def __init__(self) -> None:
        self._values: list[Floats] = []
        self._bounds: list[tuple[float, float]] = []

    def add(self, values: Floats, bounds: tuple[float, float] = UNBOUNDED) -> int:
        self._values.append(values)
        self._bounds.append(bounds)
        return len(self._values) - 1

    def bounds(self) -> tuple[Floats, Floats]:
        """Least and largest values possible, float64 [k] each."""
        low, high = np.array(self._bounds).T
        return low, high

    def table(self) -> Floats:
        return np.stack(self._values, axis=1)


def evaluate(
    predicted_quality: Floats,
    predicted_cost: Floats | None,
    decision: Ints,
    outcomes: Outcomes,
    *,
    title: str = "router",
    folds: Ints | None = None,
    seed: int = 0,
    reference: str | None = None,
    pair: tuple[str, str] | None = None,
    replicates: int = 1000,
    robustness: Sequence[RobustnessFigures] = (),
    guarantee: GuaranteeFigures | None = None,
    trained_on: float = 0.0,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Evaluate forecasts and decisions made without sight of these outcomes (held-out or out-of-fold).

    Rows that are kin (copies, near copies, shared passages, the table's own groups) are resampled together.

    Args:
        predicted_quality: float64 [n, m], finite, the forecast of ``outcomes.quality``.
        predicted_cost: float64 [n, m] USD or None; what is decided on where the table has costs.
        decision: int [n], the column chosen.
        outcomes: what really happened. Where some of it was not observed, every figure is on the same rows all the
            same, completed as :mod:`tiny_dancer.evaluation.missing` says; rows without any outcome are left out.
        title: what is evaluated, in words.
        folds: int [n], for the TF-IDF baseline fitted on these rows; dealt by group from the seed if None.
        seed: of the bootstrap and the folds.
        reference: model name; the best constant if None.
        pair: (weak, strong) names; the cheapest non-dominated and the best constant if None.
        replicates: of the bootstrap.
        robustness: figures the caller measured.
        guarantee: the certificate the caller has.
        trained_on: share of these rows that were trained on after all; where there is one, it is the verdict.
        notes: the caller's own.

    Raises:
        DataError: shapes differ, forecasts not finite, no outcome observed.
        OptionError: a decision or a name that is not among the models.
        MissingExtraError: features are given and scikit-learn is not installed.
    """
    weight = outcomes.weight
    decision = _checked(predicted_quality, predicted_cost, decision, outcomes)
    outcomes = independent(outcomes)
    known, scored = observed(outcomes), np.isfinite(outcomes.quality)
    quality = np.where(scored.any(axis=1, keepdims=True), known.completed, np.nan)
    quality[:, ~scored.any(axis=0)] = np.nan
    best = baselines.best_constant(quality, weight)
    compared = best if reference is None else _column(outcomes.models, reference, "reference")
    costs = baselines.cost_table(outcomes, predicted_cost, best)
    cost, notes = costs.cost, [*notes, *costs.notes]
    plan = (
        predicted_cost
        if predicted_cost is not None and outcomes.cost is not None
        else np.broadcast_to(baselines.column_means(cost, weight), cost.shape)
    )
    field = _field(
        predicted_quality, plan, decision, outcomes, quality, cost, _tfidf(outcomes, folds, seed, notes)
    )
    router, curves = field.router, field.curves
    notes += _missing_notes(outcomes, known, decision, best)
    chosen_scored = scored[np.arange(len(decision)), decision]
    rows_scored = {"router": int(chosen_scored.sum())}
    rows_scored |= {f"always {name}": int(scored[:, j].sum()) for j, name in enumerate(outcomes.models)}

    columns = _Columns()
    everyone = {"router": router, **field.rivals}
    at_quality = {name: columns.add(rows.quality, QUALITY) for name, rows in everyone.items()}
    at_gap = {
        # A rival that spends the same everywhere is the router itself: its gap is 0, and no estimate.
        name: columns.add(
            router.quality - rows.quality, UNBOUNDED if np.array_equal(router.cost, rows.cost) else GAP
        )
        for name, rows in field.rivals.items()
    }
    at_curve = {name: columns.add(_row_mean(table), QUALITY) for name, table in curves.items()}
    at_curve_gap = {
        name: columns.add(_row_mean(curves["router"] - table), GAP)
        for name, table in curves.items()
        if name != "router"
    }
    at_band = [columns.add(values, QUALITY) for values in curves["router"].T] if curves else []
    at_spent = columns.add(router.cost)
    at_reference_spent = columns.add(cost[:, compared])
    leaves = decision != compared
    at_reference_gap = columns.add(router.quality - quality[:, compared], GAP if leaves.any() else UNBOUNDED)
    tasks = task_rows(outcomes)
    at_task = {
        name: columns.add(
            np.where(mask, router.quality - quality[:, best], np.nan),
            GAP if (decision[mask] != best).any() else UNBOUNDED,
        )
        for name, mask in tasks.items()
    }

    scores = _pair_scores(pair, predicted_quality, field, outcomes, quality, cost, best)
    table = columns.table()
    means = mean_statistics(table)

    def statistics(weights: Floats) -> Floats:
        found = means(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = found[:, at_spent] / found[:, at_reference_spent]
        blocks = [found, ratio[:, None]]
        if scores is not None:
            blocks.append(scores.statistics(weights))
        return np.concatenate(blocks, axis=1)

    boot = paired_bootstrap(
        statistics,
        len(outcomes),
        weight=weight,
        group=outcomes.group,
        replicates=replicates,
        seed=seed,
        means_of=(table, *columns.bounds()),
    )
    ratio = boot.interval(table.shape[1])
    gaps = {name: boot.interval(index) for name, index in at_gap.items()}
    curve_gaps = {name: boot.interval(index) for name, index in at_curve_gap.items()}
    reference_gap = boot.interval(at_reference_gap)
    policies = tuple(
        PolicyFigures(
            name=name,
            title=TITLES.get(name, name),
            quality=boot.interval(at_quality[name]),
            cost=float(np.average(rows.cost, weights=weight)),
            gap=gaps.get(name),
            curve=boot.interval(at_curve[name]) if name in at_curve else None,
            curve_gap=curve_gaps.get(name),
            aiq=_aiq(name, field, weight),
            rows=rows_scored.get(name, int(np.isfinite(rows.quality).sum())),
        )
        for name, rows in everyone.items()
    )
    verdict = decide(
        models=len(outcomes.models),
        units=boot.units,
        leaves=float(np.average(leaves, weights=weight)),
        reference=outcomes.models[compared],
        gap_reference=reference_gap,
        cost_ratio=ratio,
        gaps=gaps,
        curve_gaps=curve_gaps,
        trained_on=trained_on,
    )
    return Evaluation(
        title=title,
        rows=len(outcomes),
        units=boot.units,
        best=outcomes.models[best],
        reference=outcomes.models[compared],
        cost_unit=costs.unit,
        cost_ratio=ratio,
        gap_reference=reference_gap,
        policies=policies,
        curves=tuple(
            _curve(name, field.targets, boot, at_band if name == "router" else None, values, weight)
            for name, values in curves.items()
        ),
        pair=None
        if scores is None
        else pair_view(scores, boot, table.shape[1] + 1, outcomes.models, TITLES, weight),
        models=model_figures(predicted_quality, quality, cost, decision, outcomes),
        tasks=tuple(
            task_figures(
                name, mask, router, quality[:, best], cost[:, compared], weight, boot.interval(at_task[name])
            )
            for name, mask in tasks.items()
        ),
        calibration=calibration_figures(predicted_quality, outcomes),
        robustness=tuple(robustness),
        guarantee=guarantee,
        verdict=verdict,
        notes=tuple(notes),
        replicates=replicates,
        seed=seed,
        trained_on=trained_on,
    )


def _checked(predicted: Floats, predicted_cost: Floats | None, decision: Ints, outcomes: Outcomes) -> Ints:
    n, m = outcomes.quality.shape
    if n == 0:
        raise DataError("outcomes", "no rows", "give at least one row")
    if predicted.shape != (n, m) or not np.isfinite(predicted).all():
        raise DataError("predicted_quality", f"shape {predicted.shape}", f"give finite values of shape {(n, m)}")
    if predicted_cost is not None and (predicted_cost.shape != (n, m) or not np.isfinite(predicted_cost).all()):
        raise DataError("predicted_cost", f"shape {predicted_cost.shape}", f"give finite values of shape {(n, m)}")
    checked = np.asarray(decision)
    if checked.shape != (n,) or checked.dtype.kind not in "iu":
        raise DataError("decision", f"shape {checked.shape}, {checked.dtype}", f"give {n} column numbers")
    if checked.min() < 0 or checked.max() >= m:
        raise OptionError("decision", f"{checked.min()} to {checked.max()}", f"give columns from 0 to {m - 1}")
    return checked.astype(np.int64)


def _missing_notes(outcomes: Outcomes, known: Observed, decision: Ints, best: int) -> list[str]:
    """What figures rest on where outcomes are missing; nothing where none is."""
    missing = ~np.isfinite(outcomes.quality)
    if not missing.any():
        return []
    unseen = int(missing[np.arange(len(decision)), decision].sum())
    notes = [
        f"{missing.mean():.1%} of outcomes are missing, the chosen model's on {unseen:,} of {len(outcomes):,} "
        "requests. All figures are on the same requests, completed by what the models that were scored say of a "
        "request, and by how likely it was to be scored."
    ]
    notes += [f"{each[0].upper()}{each[1:]}." for each in known.warnings(outcomes.models, outcomes.weight)]
    rivals = known.rests_on_missing(best, outcomes.weight)
    if len(rivals):
        names = ", ".join(outcomes.models[j] for j in rivals)
        notes.append(
            f"If outcomes are missing because of what they are (time-outs left empty, say), {names} may be better "
            f"than {outcomes.models[best]}; no table can tell."
        )
    return notes


def _column(models: tuple[str, ...], name: str, field: str) -> int:
    if name not in models:
        raise OptionError(field, name, f"choose one of {', '.join(models)}")
    return models.index(name)


def _tfidf(outcomes: Outcomes, folds: Ints | None, seed: int, notes: list[str]) -> Floats | None:
    """The TF-IDF baseline's forecast [n, m], or None with a note where the table does not allow one."""
    if outcomes.features is None:
        notes.append("The table is not featurised: the TF-IDF baseline is left out.")
        return None
    if folds is None and len(np.unique(outcomes.group)) >= FOLDS:
        folds = grouped_folds(outcomes.group, FOLDS, seed)
    numbers = np.zeros(len(outcomes), np.int64) if folds is None else np.asarray(folds)
    if len(np.unique(numbers)) < 2:
        notes.append("Fewer than two folds: the TF-IDF baseline is left out.")
        return None
    return baselines.tfidf_ridge(outcomes.features, outcomes.quality, numbers, weight=outcomes.weight)


@dataclass(frozen=True, slots=True)
class _Field:
    """The router and its rivals on the same requests; ``curves`` is row-wise quality [n, targets] by name."""

    router: baselines.PolicyRows
    rivals: dict[str, baselines.PolicyRows]
    mixes: baselines.ConstantMixes
    sweeps: dict[str, baselines.CostSweep]
    length: Floats | None
    forecast: Floats | None
    targets: Floats
    curves: dict[str, Floats]


def _field(
    predicted: Floats,
    plan: Floats,
    decision: Ints,
    outcomes: Outcomes,
    quality: Floats,
    cost: Floats,
    forecast: Floats | None,
) -> _Field:
    """Every policy at the router's own mean cost, and every curve at the same mean costs."""
    weight = outcomes.weight
    router = baselines.chosen(quality, cost, decision)
    spent = float(np.average(router.cost, weights=weight))
    length = baselines.length_score(outcomes)
    mixes = baselines.ConstantMixes(quality, cost, weight)
    sweeps = {"router": baselines.CostSweep(predicted, plan, quality, cost, weight)}
    if forecast is not None:
        sweeps["tfidf"] = baselines.CostSweep(forecast, plan, quality, cost, weight)
    rivals = {
        f"always {name}": baselines.constant(quality, cost, j)
        for j, name in enumerate(outcomes.models)
        if np.isfinite(quality[:, j]).any()
    }
    rivals["random"] = mixes.random(spent)
    rivals["shuffle"] = baselines.shuffle(quality, cost, decision, weight)
    if length is not None:
        rivals["length"] = mixes.by_score(length, spent)
    if forecast is not None:
        rivals["tfidf"] = sweeps["tfidf"].at(spent)
    rivals["oracle"] = baselines.oracle(quality, cost)
    low, high = mixes.mean_cost[0], mixes.mean_cost[-1]
    targets = np.linspace(low, high, MATCHED_COSTS) if high > low else np.zeros(0)
    curves: dict[str, Floats] = {}
    if len(targets):
        curves = {n: np.stack([s.at(t).quality for t in targets], axis=1) for n, s in sweeps.items()}
        curves["random"] = np.stack([mixes.random(t).quality for t in targets], axis=1)
        if length is not None:
            curves["length"] = np.stack([mixes.by_score(length, t).quality for t in targets], axis=1)
    return _Field(router, rivals, mixes, sweeps, length, forecast, targets, curves)


def _row_mean(values: Floats) -> Floats:
    """Mean of each row over what is observed in it, float64 [n]; NaN where nothing is."""
    return baselines.column_means(values.T, np.ones(values.shape[1]))


def _pair_scores(
    pair: tuple[str, str] | None,
    predicted: Floats,
    field: _Field,
    outcomes: Outcomes,
    quality: Floats,
    cost: Floats,
    best: int,
) -> PairScores | None:
    """The scores that order requests between the pair given or chosen; None where there is no pair."""
    if pair is None:
        columns = choose_pair(quality, cost, outcomes.weight, best)
    else:
        columns = _column(outcomes.models, pair[0], "pair"), _column(outcomes.models, pair[1], "pair")
    if columns is None:
        return None
    weak, strong = columns
    forecast = field.forecast
    scores = {
        "router": predicted[:, strong] - predicted[:, weak],
        "length": field.length,
        "tfidf": None if forecast is None else forecast[:, strong] - forecast[:, weak],
    }
    return pair_scores(columns, scores, outcomes.quality)


def _aiq(name: str, field: _Field, weight: Floats) -> float | None:
    """RouterBench's area from the cheapest to the best constant's mean cost; None where there is no curve."""
    mixes = field.mixes
    span = float(mixes.mean_cost[0]), float(mixes.mean_cost[-1])
    if name == "random" and len(field.targets):
        return aiq(mixes.mean_cost, mixes.mean_quality, cost_range=span)
    if name not in field.sweeps or not len(field.targets):
        return None
    points, means = field.sweeps[name].points(weight)
    known = np.isfinite(means)
    return aiq(points[known], means[known], cost_range=span) if known.any() else None


def _curve(
    name: str, targets: Floats, boot: Bootstrap, band: list[int] | None, values: Floats, weight: Floats
) -> CurveFigures:
    """One curve for plotting; only the router's carries its band."""
    intervals = [boot.interval(index) for index in band or ()]
    return CurveFigures(
        name=name,
        title=TITLES[name],
        cost=tuple(targets.tolist()),
        quality=tuple(baselines.column_means(values, weight).tolist()),
        low=tuple(i.low for i in intervals),
        high=tuple(i.high for i in intervals),
    )
