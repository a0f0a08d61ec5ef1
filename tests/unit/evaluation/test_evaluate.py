"""The whole evaluation: figures that agree with each other, verdicts that fit, input that is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.bootstrap import Interval
from tiny_dancer.evaluation.evaluate import evaluate
from tiny_dancer.evaluation.metrics import apgr, cpt
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.evaluation.results import GuaranteeFigures, RobustnessFigures, to_dict
from tiny_dancer.evaluation.verdict import decide

from .tables import informative, make_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.types import Outcomes


def policy(evaluation: Evaluation, name: str):
    return next(p for p in evaluation.policies if p.name == name)


@pytest.fixture(scope="module")
def good() -> Evaluation:
    forecast, quality, features = informative(4000, 0, models=3)
    cost = np.tile([1e-4, 2e-4, 1e-3], (4000, 1))
    tasks = tuple("maths" if i % 3 else "law" for i in range(4000))
    table = make_outcomes(quality, cost=cost, features=features, task=tasks)
    decision = (forecast - 60 * cost).argmax(axis=1)
    return evaluate(forecast, cost, decision, table, replicates=300)


def test_figures_agree_with_the_metrics(good: Evaluation) -> None:
    forecast, quality, _ = informative(4000, 0, models=3)
    assert good.pair is not None and (good.pair.weak, good.pair.strong) == ("a", "c")
    score = forecast[:, 2] - forecast[:, 0]
    own = good.pair.methods[0]
    assert own.apgr.estimate == pytest.approx(apgr(score, quality[:, 0], quality[:, 2]))
    assert own.apgr_exact.estimate == pytest.approx(apgr(score, quality[:, 0], quality[:, 2], method="exact"))
    assert own.cpt80.estimate == pytest.approx(cpt(score, quality[:, 0], quality[:, 2], level=0.8))
    assert own.apgr.low < own.apgr.estimate < own.apgr.high
    for method in good.pair.methods[1:]:
        assert method.gap is not None
        assert method.gap.estimate == pytest.approx(own.apgr.estimate - method.apgr.estimate)
    assert [m.name for m in good.pair.methods] == ["router", "length", "tfidf", "random", "oracle"]
    for name in ("always a", "always c", "random", "shuffle", "length", "tfidf", "oracle"):
        gap = policy(good, name).gap
        assert gap is not None
        expected = policy(good, "router").quality.estimate - policy(good, name).quality.estimate
        assert gap.estimate == pytest.approx(expected)
    for name in ("random", "length", "tfidf"):
        assert policy(good, name).cost == pytest.approx(policy(good, "router").cost, rel=0.01)
    assert sum(m.share for m in good.models) == pytest.approx(1)
    assert sum(t.rows for t in good.tasks) == good.rows
    weighted = sum(t.rows * t.gap.estimate for t in good.tasks) / good.rows
    assert weighted == pytest.approx(good.gap_reference.estimate)
    assert good.calibration is not None and good.calibration.calibration_error < 0.03


def test_a_router_that_knows_is_routed(good: Evaluation) -> None:
    assert good.verdict.choice == "route", good.verdict
    assert good.best in good.verdict.headline


def test_json_has_no_nan(good: Evaluation) -> None:
    text = json.dumps(to_dict(good), allow_nan=False)
    assert json.loads(text)["verdict"]["choice"] == "route"


def test_chance_is_not_routed() -> None:
    _, quality, features = informative(6000, 1)
    noise = np.random.default_rng(2).random((6000, 2))
    found = evaluate(noise, None, noise.argmax(axis=1), make_outcomes(quality, features=features), replicates=300)
    assert found.verdict.choice != "route"
    assert found.cost_unit == "calls of b" and any("no costs" in note for note in found.notes)
    assert found.pair is not None
    assert found.pair.methods[0].apgr.estimate == pytest.approx(0.5, abs=0.06)


def test_a_router_that_is_only_length_is_not_routed() -> None:
    rng = np.random.default_rng(3)
    _, _, features = informative(5000, 4)
    length = features.tokens / features.tokens.max()
    quality = np.stack([rng.random(5000) > length * 0.8, rng.random(5000) < 0.9], axis=1).astype(float)
    forecast = np.stack([1 - length * 0.8, np.full(5000, 0.9)], axis=1)
    decision = (forecast - [0, 0.3]).argmax(axis=1)
    found = evaluate(forecast, None, decision, make_outcomes(quality, features=features), replicates=200)
    assert found.verdict.choice == "do not route" and "length" in found.verdict.headline


def test_few_requests_are_not_enough() -> None:
    forecast, quality, features = informative(60, 5)
    found = evaluate(forecast, None, forecast.argmax(axis=1), make_outcomes(quality, features=features))
    assert found.verdict.choice == "not enough data"
    forecast, quality, features = informative(4000, 5)
    found = evaluate(
        forecast,
        None,
        forecast.argmax(axis=1),
        make_outcomes(quality, features=features, group=np.arange(4000) // 50),
        replicates=100,
    )
    assert found.units == 80 and found.verdict.choice == "not enough data"


def test_always_the_reference_is_not_routing() -> None:
    forecast, quality, features = informative(4000, 6)
    found = evaluate(forecast, None, np.full(4000, 1), make_outcomes(quality, features=features), replicates=200)
    assert found.verdict.choice == "do not route" and "every request goes to b" in found.verdict.headline
    assert found.gap_reference == Interval(0.0, 0.0, 0.0)


def test_unobserved_outcomes_are_completed_and_said() -> None:
    forecast, quality, features = informative(3000, 7, models=3)
    holes = np.random.default_rng(8).random(quality.shape) < 0.3
    table = make_outcomes(np.where(holes, np.nan, quality), features=features)
    found = evaluate(forecast, None, forecast.argmax(axis=1), table, replicates=200)
    complete = evaluate(forecast, None, forecast.argmax(axis=1), make_outcomes(quality), replicates=20)
    assert any("outcomes are missing" in note for note in found.notes)
    full, part = policy(complete, "router").quality, policy(found, "router").quality
    assert part.low <= full.estimate <= part.high
    json.dumps(to_dict(found), allow_nan=False)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_tables_are_evaluated_without_certainty(n: int) -> None:
    table = make_outcomes(np.eye(3)[:n, :2])
    found = evaluate(np.full((n, 2), 0.5), None, np.zeros(n, dtype=np.int64), table, replicates=20)
    assert found.verdict.choice == "not enough data"
    json.dumps(to_dict(found), allow_nan=False)


def test_one_model_and_equal_labels() -> None:
    one = evaluate(np.full((200, 1), 0.5), None, np.zeros(200, dtype=np.int64), make_outcomes(np.ones((200, 1))))
    assert one.verdict.choice == "do not route" and one.pair is None
    equal = evaluate(
        np.random.default_rng(0).random((2000, 2)),
        None,
        np.zeros(2000, dtype=np.int64),
        make_outcomes(np.ones((2000, 2))),
    )
    assert equal.verdict.choice == "do not route"
    assert equal.pair is None or not equal.pair.defined
    json.dumps(to_dict(equal), allow_nan=False)


def test_reference_and_pair_can_be_given() -> None:
    forecast, quality, features = informative(500, 9, models=3)
    table = make_outcomes(quality, features=features)
    decision = forecast.argmax(axis=1)
    found = evaluate(forecast, None, decision, table, reference="b", pair=("b", "c"), replicates=50)
    assert found.reference == "b" and found.pair is not None and found.pair.weak == "b"
    with pytest.raises(OptionError, match="reference"):
        evaluate(forecast, None, decision, table, reference="nobody")
    with pytest.raises(DataError, match="predicted_quality"):
        evaluate(forecast[:-1], None, decision, table)
    with pytest.raises(DataError, match="predicted_quality"):
        evaluate(forecast * np.nan, None, decision, table)
    with pytest.raises(OptionError, match="decision"):
        evaluate(forecast, None, decision + 9, table)
    with pytest.raises(DataError, match="decision"):
        evaluate(forecast, None, decision.astype(float), table)


def test_same_seed_same_evaluation() -> None:
    forecast, quality, features = informative(400, 10)
    table = make_outcomes(quality, features=features)
    first = to_dict(evaluate(forecast, None, forecast.argmax(axis=1), table, seed=3, replicates=50))
    assert first == to_dict(evaluate(forecast, None, forecast.argmax(axis=1), table, seed=3, replicates=50))


CLEAR, NONE, WIDE = Interval(0.03, 0.02, 0.04), Interval(0.0, -0.004, 0.004), Interval(0.01, -0.02, 0.04)


@pytest.mark.parametrize(
    ("change", "choice", "word"),
    [
        ({}, "route", "cheaper"),
        ({"models": 1}, "do not route", "one model"),
        ({"units": 99}, "not enough data", "99"),
        ({"curve_gaps": {"random": NONE}}, "do not route", "next to nothing"),
        ({"curve_gaps": {"random": WIDE}}, "not enough data", "random mix"),
        ({"curve_gaps": {"random": CLEAR, "length": NONE}}, "do not route", "length"),
        ({"curve_gaps": {"random": CLEAR, "tfidf": Interval(-0.03, -0.04, -0.02)}}, "do not route", "TF-IDF"),
        ({"curve_gaps": {"random": CLEAR, "tfidf": NONE}}, "route", "cheaper"),
        ({"curve_gaps": {"random": CLEAR, "tfidf": WIDE}}, "route", "cheaper"),
        ({"curve_gaps": {"random": CLEAR, "length": WIDE}}, "not enough data", "length"),
        ({"leaves": 0.0}, "do not route", "every request"),
        ({"gaps": {"random": Interval(-0.03, -0.04, -0.02)}}, "do not route", "random mix"),
        ({"cost_ratio": Interval(1.1, 1.0, 1.2)}, "do not route", "neither"),
        ({"gap_reference": Interval(-0.05, -0.06, -0.04)}, "route", "may go"),
        ({"gap_reference": CLEAR, "cost_ratio": Interval(1.1, 1.0, 1.2)}, "route", "over always"),
        ({"gap_reference": Interval(-0.01, -0.03, 0.01)}, "route", "may drop"),
    ],
)
def test_verdicts(change: dict[str, object], choice: str, word: str) -> None:
    usual = {
        "models": 2,
        "units": 500,
        "leaves": 0.4,
        "reference": "strong",
        "gap_reference": NONE,
        "cost_ratio": Interval(0.6, 0.55, 0.65),
        "gaps": {"random": CLEAR},
        "curve_gaps": {"random": CLEAR, "length": CLEAR, "tfidf": CLEAR},
    }
    found = decide(**{**usual, **change})
    assert found.choice == choice and word in found.headline and found.reasons


def test_certificates_in_words() -> None:
    held = GuaranteeFigures(True, "mean", "strong", 0.05, 0.1, 1500, 0.09, None, "2026-01-01")
    assert "below 0.05 with confidence 90%" in held.text() and "1,500" in held.text()
    failed = dataclasses.replace(held, certified=False, rows_needed=4000)
    assert "Not certified" in failed.text() and "4,000" in failed.text()
    assert "would not help" in dataclasses.replace(failed, rows_needed=None).text()


def test_real_mmlu(real_table: Callable[[str], Outcomes]) -> None:
    table = real_table("mmlu")
    rng = np.random.default_rng(0)
    forecast = np.clip(table.quality.mean(axis=0) + rng.normal(0, 0.1, table.quality.shape), 0, 1)
    found = evaluate(forecast, None, forecast.argmax(axis=1), table, robustness=[RobustnessFigures("case", 0.0)])
    assert found.verdict.choice != "route" and len(found.tasks) == 28
    assert found.pair is not None
    tfidf = next(m for m in found.pair.methods if m.name == "tfidf")
    assert tfidf.apgr.estimate == pytest.approx(0.58, abs=0.04)  # 5-fold; the folds alone move it by .02


USUAL = {
    "models": 2,
    "units": 500,
    "leaves": 0.4,
    "reference": "strong",
    "gap_reference": NONE,
    "cost_ratio": Interval(0.6, 0.55, 0.65),
    "gaps": {"random": CLEAR},
    "curve_gaps": {"random": CLEAR, "length": CLEAR, "tfidf": CLEAR},
}
EDGE = Interval(0.0, -0.01, 0.01)
LEVEL = "Route: 40% cheaper than always strong, with quality the same within a point."


@pytest.mark.parametrize(
    ("change", "headline", "reasons"),
    [
        (
            {},
            LEVEL,
            (
                "Against always strong quality changes by +0.0 points (95 % -0.4 to +0.4) "
                "at 60% of its cost (95 % 55% to 65%).",
                "Against a random mix of models over matched costs it is +3.0 points (95 % +2.0 to +4.0) "
                "in quality.",
                "Against prompt length alone over matched costs it is +3.0 points (95 % +2.0 to +4.0).",
                "Against a plain TF-IDF ridge over matched costs it is +3.0 points (95 % +2.0 to +4.0).",
            ),
        ),
        ({"units": 100}, LEVEL, None),
        (
            {"gap_reference": EDGE},
            LEVEL,
            None,
        ),
        (
            {"gap_reference": Interval(-0.012, -0.011, 0.01)},
            "Route: 40% cheaper than always strong; quality may drop by up to 1.1 points (95 %).",
            None,
        ),
        (
            {"gap_reference": Interval(-0.05, -0.06, -0.04)},
            "Route: 40% cheaper than always strong if 5.0 points of quality may go.",
            None,
        ),
        ({"gap_reference": CLEAR}, "Route: +3.0 points of quality over always strong, 40% cheaper.", None),
        (
            {"gap_reference": CLEAR, "cost_ratio": Interval(1.0, 0.9, 1.0)},
            "Route: +3.0 points of quality over always strong.",
            None,
        ),
        (
            {"cost_ratio": Interval(1.0, 0.9, 1.0)},
            "Do not route as set: it is neither cheaper nor better than always strong.",
            None,
        ),
        (
            {"curve_gaps": {"random": EDGE}},
            "Not enough data: the router cannot be told from a random mix yet.",
            (
                "Against a random mix of models over matched costs the router's quality differs by "
                "+0.0 points (95 % -1.0 to +1.0).",
                "A gain of a point or more remains possible; more outcomes would tell.",
            ),
        ),
        (
            {"curve_gaps": {}, "gaps": {"random": NONE}},
            "Do not route: reading the request gains next to nothing.",
            (
                "Against a random mix of models at the same cost the router's quality differs by "
                "+0.0 points (95 % -0.4 to +0.4).",
            ),
        ),
        (
            {"curve_gaps": {"random": Interval(0.1, float("nan"), float("nan"))}},
            "Not enough data: the router cannot be compared with a random mix of models.",
            None,
        ),
        (
            {"curve_gaps": {"random": CLEAR, "length": EDGE}},
            "Not enough data: it beats chance, but cannot be told from prompt length alone yet.",
            None,
        ),
        (
            {"curve_gaps": {"random": CLEAR, "length": NONE}},
            "Do not route with this router: prompt length alone does as well.",
            None,
        ),
        (
            {"curve_gaps": {"random": CLEAR, "length": Interval(-0.02, -0.03, -0.01)}},
            "Do not route with this router: prompt length alone does better.",
            None,
        ),
        (
            {"curve_gaps": {"random": CLEAR, "length": Interval(float("nan"), float("nan"), float("nan"))}},
            LEVEL,
            None,
        ),
        (
            {"gaps": {"random": Interval(-0.03, -0.04, -0.02)}},
            "Do not route as set: at this cost a random mix of models does better.",
            (
                "At the same cost the decisions are -3.0 points (95 % -4.0 to -2.0) against a random mix.",
                "Against always strong quality changes by +0.0 points (95 % -0.4 to +0.4) "
                "at 60% of its cost (95 % 55% to 65%).",
                "Against a random mix of models over matched costs it is +3.0 points (95 % +2.0 to +4.0) "
                "in quality.",
                "Against prompt length alone over matched costs it is +3.0 points (95 % +2.0 to +4.0).",
                "Against a plain TF-IDF ridge over matched costs it is +3.0 points (95 % +2.0 to +4.0).",
            ),
        ),
        ({"gaps": {}}, LEVEL, None),
        ({"leaves": 0.0}, "Do not route as set: every request goes to strong.", None),
        (
            {"cost_ratio": Interval(float("nan"), float("nan"), float("nan")), "gap_reference": CLEAR},
            "Route: +3.0 points of quality over always strong.",
            None,
        ),
    ],
)
def test_verdicts_in_words_and_at_their_edges(
    change: dict[str, object], headline: str, reasons: tuple[str, ...] | None
) -> None:
    found = decide(**{**USUAL, **change})  # type: ignore[arg-type]
    assert found.headline == headline
    assert found.choice == {"R": "route", "D": "do not route", "N": "not enough data"}[headline[0]]
    if reasons is not None:
        assert found.reasons == reasons


def test_a_trained_rule_that_does_nearly_as_well_is_mentioned_and_no_obstacle() -> None:
    found = decide(**{**USUAL, "curve_gaps": {"random": CLEAR, "length": CLEAR, "tfidf": NONE}})  # type: ignore[arg-type]
    assert found.choice == "route"
    assert found.reasons[-1] == (
        "Against a plain TF-IDF ridge over matched costs it is +0.0 points (95 % -0.4 to +0.4). "
        "That much simpler a method may do here."
    )
    undecided = decide(**{**USUAL, "curve_gaps": {"random": CLEAR, "length": WIDE, "tfidf": CLEAR}})  # type: ignore[arg-type]
    assert undecided.reasons[0].startswith("Against prompt length alone"), "what decides comes first"
    free = Interval(float("nan"), float("nan"), float("nan"))
    nothing_to_save = decide(**{**USUAL, "cost_ratio": free, "gap_reference": CLEAR})  # type: ignore[arg-type]
    assert nothing_to_save.reasons[0].endswith("; its cost is zero, so there is nothing to save.")


@pytest.fixture(scope="module")
def weighed() -> tuple[Evaluation, Outcomes, np.ndarray, np.ndarray]:
    """Requests that weigh one or three, of two tasks, in groups of two, with gaps."""
    rng = np.random.default_rng(20)
    forecast, quality, features = informative(300, 20, models=3)
    quality[rng.random((300, 3)) < 0.1] = np.nan
    cost = rng.uniform(0.5, 1.5, (300, 3)) * [1e-4, 2e-4, 1e-3]
    table = make_outcomes(
        quality,
        cost=cost,
        features=features,
        task=tuple("" if i % 3 else "law" for i in range(300)),
        group=np.arange(300) // 2,
    )
    table = dataclasses.replace(table, weight=np.where(np.arange(300) % 2, 1.0, 3.0))
    decision = (forecast - 60 * cost.mean(0)).argmax(axis=1)
    return (
        evaluate(forecast, cost * 1.1, decision, table, replicates=60, title="weighed"),
        table,
        forecast,
        decision,
    )


def test_figures_are_weighted_means_over_the_same_completed_rows(
    weighed: tuple[Evaluation, Outcomes, np.ndarray, np.ndarray],
) -> None:
    found, table, forecast, decision = weighed
    rows, weight, cost = np.arange(300), table.weight, table.cost
    assert cost is not None

    def mean(values: np.ndarray, mask: np.ndarray | bool = True) -> float:
        seen = np.isfinite(values) & mask
        return float(np.average(values[seen], weights=weight[seen]))

    anything = np.isfinite(table.quality).any(axis=1, keepdims=True)
    quality = np.where(anything, observed(table).completed, np.nan)
    got, paid = quality[rows, decision], cost[rows, decision]
    scored = np.isfinite(table.quality[rows, decision])
    best = int(np.argmax([mean(column) for column in quality.T]))
    assert (found.title, found.rows, found.units, found.replicates) == ("weighed", 300, 150, 60)
    assert (found.best, found.reference, found.cost_unit) == ("abc"[best], "abc"[best], "USD")
    assert policy(found, "router").quality.estimate == pytest.approx(mean(got))
    assert policy(found, "router").cost == pytest.approx(mean(paid))
    assert policy(found, "router").rows == scored.sum()
    assert policy(found, "router").gap is None
    assert found.cost_ratio.estimate == pytest.approx(mean(paid) / mean(cost[:, best]))
    assert found.gap_reference.estimate == pytest.approx(mean(got - quality[:, best]))
    for number, model in enumerate(found.models):
        column = table.quality[:, number]
        assert model.quality == pytest.approx(mean(quality[:, number]))
        assert model.cost == pytest.approx(mean(cost[:, number]))
        assert model.share == pytest.approx(mean((decision == number) * 1.0))
        assert model.observed == np.isfinite(column).sum()
        assert model.brier == pytest.approx(mean((forecast[:, number] - column) ** 2))
        assert policy(found, f"always {model.name}").rows == model.observed
    assert [(task.name, task.rows) for task in found.tasks] == [("(no task)", 200), ("law", 100)]
    for task, mask in zip(found.tasks, (rows % 3 != 0, rows % 3 == 0), strict=True):
        assert task.quality == pytest.approx(mean(got, mask))
        assert task.best_quality == pytest.approx(mean(quality[:, best], mask))
        assert task.gap.estimate == pytest.approx(mean(got - quality[:, best], mask))
        assert task.cost_ratio == pytest.approx(mean(paid, mask) / mean(cost[:, best], mask))
    assert any(f"the chosen model's on {300 - scored.sum()} of 300 requests" in note for note in found.notes)


def test_curves_run_over_evenly_spaced_costs_and_only_the_routers_has_a_band(
    weighed: tuple[Evaluation, Outcomes, np.ndarray, np.ndarray],
) -> None:
    found = weighed[0]
    assert [curve.name for curve in found.curves] == ["router", "tfidf", "random", "length"]
    means = sorted(model.cost for model in found.models)
    for curve in found.curves:
        assert curve.cost == pytest.approx(np.linspace(means[0], means[-1], 21))
        assert len(curve.low) == len(curve.high) == (21 if curve.name == "router" else 0)
    own = found.curves[0]
    assert all(low <= middle <= high for low, middle, high in zip(own.low, own.quality, own.high, strict=True))
    for name in ("router", "random", "tfidf"):
        assert 0 < (policy(found, name).aiq or 0) < 1
    for name in ("length", "oracle", "shuffle", "always a"):
        assert policy(found, name).aiq is None
    mixed = next(curve for curve in found.curves if curve.name == "random")
    area = np.trapezoid(mixed.quality, mixed.cost) / np.ptp(mixed.cost)
    assert policy(found, "random").aiq == pytest.approx(area, abs=0.01)
    pair = found.pair
    assert pair is not None
    for method in pair.methods:
        assert method.share == pytest.approx(np.linspace(0, 1, 101))
        assert method.quality[0] == pytest.approx(pair.quality_weak)
        assert method.quality[-1] == pytest.approx(pair.quality_strong)
        assert (method.gap is None) is (method.name == "router")
    assert pair.rows + pair.dropped == 300
    assert pair.defined


def test_what_is_gained_over_matched_costs_is_the_difference_of_the_curves_means(good: Evaluation) -> None:
    own = policy(good, "router").curve
    assert own is not None
    assert own.estimate == pytest.approx(np.mean(good.curves[0].quality))
    for name in ("random", "length", "tfidf"):
        other, gap = policy(good, name).curve, policy(good, name).curve_gap
        assert other is not None
        assert gap is not None
        assert gap.estimate == pytest.approx(own.estimate - other.estimate)


def test_tfidf_is_left_out_where_there_are_too_few_folds_and_said() -> None:
    forecast, quality, features = informative(40, 21)
    decision = forecast.argmax(axis=1)

    def notes(groups: int, folds: np.ndarray | None = None) -> str:
        table = make_outcomes(quality, features=features, group=np.arange(40) % groups)
        return " ".join(evaluate(forecast, None, decision, table, replicates=5, folds=folds).notes)

    assert "TF-IDF" not in notes(5)
    assert "Fewer than two folds: the TF-IDF baseline is left out." in notes(4)
    assert "TF-IDF" not in notes(4, np.arange(40) % 2)
    bare = evaluate(forecast, None, decision, make_outcomes(quality), replicates=5)
    assert "The table is not featurised: the TF-IDF baseline is left out." in bare.notes


def test_tables_and_forecasts_that_do_not_fit_are_refused() -> None:
    forecast, quality, _ = informative(10, 22)
    table = make_outcomes(quality)
    none = np.zeros(0, np.int64)
    with pytest.raises(DataError, match="at least one row"):
        evaluate(np.zeros((0, 2)), None, none, make_outcomes(np.zeros((0, 2))))
    for cost in (np.ones((9, 2)), np.full((10, 2), np.nan)):
        with pytest.raises(DataError, match="predicted_cost"):
            evaluate(forecast, cost, forecast.argmax(axis=1), table)
    for decision in (np.full(10, -1), np.full(10, 2)):
        with pytest.raises(OptionError, match="columns from 0 to 1"):
            evaluate(forecast, None, decision, table)
    with pytest.raises(DataError, match="10 column numbers"):
        evaluate(forecast, None, np.zeros(9, np.int64), table)
    for pair in (("nobody", "a"), ("a", "nobody")):
        with pytest.raises(OptionError, match="choose one of a, b"):
            evaluate(forecast, None, forecast.argmax(axis=1), table, pair=pair)
    unsigned = evaluate(forecast, None, forecast.argmax(axis=1).astype(np.uint8), table, replicates=5)
    assert unsigned.rows == 10


def test_a_certificate_says_its_p_value_and_date_where_it_has_them() -> None:
    held = GuaranteeFigures(True, "mean", "strong", 0.05, 0.1, 1500, 0.0123, None, "2026-01-01")
    assert held.text() == (
        "Certified: mean quality loss against strong below 0.05 with confidence 90%, from 1,500 independent "
        "held-out requests (p = 0.012), 2026-01-01."
    )
    bare = dataclasses.replace(held, risk="harm", p_value=None, date=None).text()
    assert bare == (
        "Certified: mean harm (quality lost where any is) against strong below 0.05 with confidence 90%, from "
        "1,500 independent held-out requests."
    )
