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


def test_unobserved_outcomes_are_left_out_and_said() -> None:
    forecast, quality, features = informative(3000, 7, models=3)
    holes = np.random.default_rng(8).random(quality.shape) < 0.3
    table = make_outcomes(np.where(holes, np.nan, quality), features=features)
    found = evaluate(forecast, None, forecast.argmax(axis=1), table, replicates=200)
    complete = evaluate(forecast, None, forecast.argmax(axis=1), make_outcomes(quality), replicates=20)
    assert any("no outcome" in note for note in found.notes)
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
        np.random.default_rng(0).random((300, 2)),
        None,
        np.zeros(300, dtype=np.int64),
        make_outcomes(np.ones((300, 2))),
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
