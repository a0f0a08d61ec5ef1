"""What models cost: found where it was measured, bounded beyond, priced by the user, and nothing assumed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import outcomes, pair, requests, trio

from tiny_dancer import ModelInfo, Router, _core, fit
from tiny_dancer.errors import OptionError
from tiny_dancer.routing import featurise
from tiny_dancer.training.calibrate import dial_cost_cut, dial_share
from tiny_dancer.training.costs import CostHead, CostSeen, cost_weights, fit_cost, fit_latency
from tiny_dancer.training.policy import NAMES, policies_of

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer import Outcomes

FRESH = featurise([*requests(150, 61)[0], "?", "é" * 500, "早起的鸟儿有虫吃。", "1 + 1 = 2\n\n\tx"])


def test_costs_follow_tokens_never_fall_and_have_gaps_where_nothing_is_known() -> None:
    texts, _ = requests(60, 63)
    features = featurise(texts)
    generator = np.random.default_rng(0)
    cost = np.stack([1e-6 * features.tokens + 1e-5, np.full(60, np.nan), generator.uniform(0, 1e-3, 60)], axis=1)
    cost[::9, 0] = np.nan
    table = outcomes(texts, np.full((60, 3), 0.5), cost=cost)
    head = fit_cost(table, features)
    assert head.models[1] is None
    predicted = head.predict(FRESH)
    assert np.isnan(predicted[:, 1]).all()
    assert (predicted[:, [0, 2]] >= 0).all()
    assert np.abs(predicted[:150, 0] - (1e-6 * FRESH.tokens[:150] + 1e-5)).max() < 3e-6


def rows_with(tokens: Any, cues: Any) -> Any:
    """Features with these prompt tokens [n] and first cues [n, k]; the other cues are all the same."""
    count = len(tokens)
    wide = np.ones((count, _core.CUES), np.float32)
    wide[:, : np.shape(cues)[1]] = cues
    return replace(FRESH.rows(np.arange(count)), tokens=np.asarray(tokens, np.int32), cues=wide)


def unrelated(count: int = 64) -> tuple[Any, Any, Any]:
    """Tokens and two cues without any correlation: a full factorial design, four times."""
    index = np.arange(count)
    return 10 + 5 * (index % 4), np.where(index // 4 % 2, 3.0, 1.0), np.where(index // 8 % 2, -2.0, 0.0)


def test_costs_that_follow_tokens_and_verbosity_are_found_exactly() -> None:
    tokens, talk, calm = unrelated()
    features = rows_with(tokens, np.stack([talk, calm], axis=1))
    wordiness = 2 * (talk - 2) + (calm + 1)
    cost = np.stack([1e-3 + 1e-5 * tokens + 2e-4 * wordiness, 5e-3 + 3e-5 * tokens + 1e-3 * wordiness], axis=1)
    head = fit_cost(outcomes(("x",) * 64, np.ones((64, 2)), cost=cost, features=features), features)
    assert head.predict(features) == pytest.approx(cost, rel=1e-5)
    other = rows_with([12, 24], [[1.5, -0.5], [2.5, -1.0]])
    expected = [1e-3 + 12e-5 + 2e-4 * (2 * -0.5 + 0.5), 1e-3 + 24e-5 + 2e-4 * (2 * 0.5 + 0)]
    assert head.predict(other)[:, 0] == pytest.approx(expected, rel=1e-5)
    assert head.models[0] is not None
    assert head.models[0][1] == pytest.approx(1e-5)


def test_a_model_that_writes_less_where_others_write_more_is_not_made_to_cost_less() -> None:
    tokens, talk, _ = unrelated()
    features = rows_with(tokens, talk[:, None])
    rising = 1e-3 + 1e-5 * tokens + 1e-4 * talk
    cost = np.stack([rising, 2 * rising, 2e-3 - 1e-4 * talk], axis=1)
    head = fit_cost(outcomes(("x",) * 64, np.ones((64, 3)), cost=cost, features=features), features)
    found = head.predict(features)
    assert found[:, :2] == pytest.approx(cost[:, :2], rel=1e-5)
    assert found[:, 2] == pytest.approx(np.full(64, 2e-3 - 2e-4), rel=1e-5)
    assert head.models[2] is not None
    assert head.models[2][2] == 0


def test_lines_of_cost_and_latency_weigh_rows_and_never_fall() -> None:
    tokens = np.arange(10, 74)
    features = rows_with(tokens, np.ones((64, 1)))
    light = np.where(np.arange(64) % 2, 1.0, 1e-12)
    rising = np.where(light == 1, 2e-3 + 1e-5 * tokens, 1.0)
    falling = np.where(light == 1, 1e-3 * (100 - tokens), 9.0)
    values = np.stack([rising, falling, np.full(64, np.nan), np.full(64, np.nan), np.full(64, np.nan)], axis=1)
    values[5, 3] = 1.0
    values[[5, 7], 4] = [0.25, 0.35]
    table = outcomes(("x",) * 64, np.ones((64, 5)), cost=values, latency=values, weight=light, features=features)
    steady = falling[light == 1].mean()
    lines = fit_latency(table, features)
    assert lines[0] == pytest.approx((2e-3, 1e-5), rel=1e-4)
    assert lines[1] == pytest.approx((steady, 0.0))
    assert lines[2:4] == (None, None), "one value makes no line"
    assert lines[4] == pytest.approx((-0.5, 0.05)), "two values do: 15 and 17 tokens"
    head = fit_cost(table, features)
    assert [model is None for model in head.models] == [False, False, True, True, False]
    priced = fit_cost(outcomes(("x",) * 64, np.ones((64, 2)), cost=values[:, :2], weight=light), features)
    found = priced.predict(features)
    assert found[1:, 0] == pytest.approx(2e-3 + 1e-5 * tokens[1:], rel=1e-4)
    assert found[0, 0] == pytest.approx(2e-3 + 11e-5), "the least seen"
    assert found[:, 1] == pytest.approx(np.full(64, steady))
    fifteen, beyond = head.predict(rows_with([15, 1], np.ones((2, 1))))[:, 4]
    assert fifteen == pytest.approx(0.25)
    assert beyond == pytest.approx(0.25 - 14 * 0.25 / 15), "the line says less than nothing"
    assert fit_latency(outcomes(("x",) * 64, np.ones((64, 2))), features) == (None, None)
    assert fit_cost(outcomes(("x",) * 64, np.ones((64, 2))), features).models == (None, None)


def test_a_cost_head_is_bounded_where_cues_are_out_of_this_world() -> None:
    verbosity = np.zeros(_core.CUES + 1)
    verbosity[0], verbosity[-1] = 2.0, 1.0
    head = CostHead(verbosity, ((1.0, 0.5, 0.25), None, (-9.0, 0.0, 0.0), (9.0, 0.0, 0.25)), (None,) * 4)
    found = head.predict(rows_with([4, 4, 4], [[1.5], [1e6], [-1e6]]))
    assert found[:, 0] == pytest.approx([1 + 2 + 0.25 * 4, 3 + 0.25 * 20, 0.0])
    assert np.isnan(found[:, 1]).all()
    assert found[:, 2].tolist() == [0, 0, 0]
    assert found[:, 3].tolist() == [10.0, 14.0, 4.0]


SIZES = st.lists(st.integers(1, 5000), min_size=3, max_size=20)
PAID = st.floats(1e-6, 1.0)


@given(data=st.data(), tokens=SIZES)
@settings(max_examples=60)
def test_expected_costs_are_positive_rise_with_tokens_and_stay_in_bounds(data: Any, tokens: list[int]) -> None:
    count = len(tokens)
    cost = np.array(data.draw(st.lists(PAID, min_size=count, max_size=count)))
    talk = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=count, max_size=count)))
    features = rows_with(tokens, talk[:, None])
    table = outcomes(("x",) * count, np.ones((count, 1)), cost=cost[:, None], features=features)
    head = fit_cost(table, features)
    asked = np.array([1, 2, *tokens, 10_000, 2_000_000])
    for talk_now in (-1e6, 0.0, 1e6):
        found = head.predict(rows_with(np.sort(asked), np.full((len(asked), 1), talk_now)))[:, 0]
        assert (found > 0).all(), "every cost seen was"
        assert (np.diff(found) >= -1e-12).all()
        rate = (cost / np.array(tokens)).min()
        least, most = cost.min(), cost.max()
        assert (found >= rate * np.sort(asked) * (1 - 1e-9)).all(), "never below the smallest seen per token"
        inside = (np.sort(asked) >= min(tokens)) & (np.sort(asked) <= max(tokens))
        assert (found[inside] >= least * (1 - 1e-9)).all()
        steepest = np.quantile(cost / np.array(tokens), 0.01, method="lower")
        assert found[-1] <= most + steepest * 2_000_000, "bounded by a token's price beyond"


@pytest.mark.parametrize("name", ["zeroeval", "bfcl"])
def test_on_real_tables_short_prompts_are_not_free_and_long_ones_cost_by_the_token(
    name: str, shared_data: Path
) -> None:
    from tiny_dancer import read_outcomes

    table = read_outcomes(shared_data / f"{name}.parquet")
    assert table.features is not None
    assert table.cost is not None
    head = fit_cost(table, table.features)
    known = [column for column, line in enumerate(head.models) if line is not None]
    wide = table.features.rows(np.zeros(3, np.int64))
    ends = replace(wide, tokens=np.array([1, int(table.features.tokens.max()), 1_600_000], np.int32))
    found = head.predict(ends)
    for column in known:
        seen = np.isfinite(table.cost[:, column]) & (table.cost[:, column] > 0)
        rates = table.cost[seen, column] / table.features.tokens[seen]
        assert found[0, column] > 0
        assert found[2, column] <= found[1, column] + np.quantile(rates, 0.05) * 1_600_000
        assert found[2, column] >= rates.min() * 1_600_000
    inside = head.predict(table.features)[:, known]
    actual = np.nanmean(table.cost[:, known], axis=0)
    assert np.nanmean(inside, axis=0) == pytest.approx(actual, rel=0.1), "in the mean as measured"


def test_the_engine_expects_what_training_does_and_older_headers_load() -> None:
    texts, _ = requests(120, 64)
    features = featurise(texts)
    generator = np.random.default_rng(1)
    cost = np.stack([features.tokens * 2e-6, features.tokens * 9e-6 + generator.uniform(0, 1e-4, 120)], axis=1)
    fitted = fit(outcomes(texts, generator.integers(0, 2, (120, 2)), cost=cost))
    long = "word " * 30_000
    asked = [*texts[:20], "?", long]
    head = fit_cost(fitted.outcomes, features)
    batch = Router(fitted.artifact).route_batch(asked)
    assert batch.costs == pytest.approx(head.predict(featurise(asked)), rel=1e-5)
    header = _core.read_header(fitted.artifact)
    assert header["models"][0]["cost_seen"]["per_token"] == pytest.approx(2e-6)
    for model in header["models"]:
        del model["cost_seen"]
    older = Router(_core.with_header(fitted.artifact, header))
    assert older.route(texts[0]).costs == pytest.approx(Router(fitted.artifact).route(texts[0]).costs, rel=1e-4)


def three(n: int = 160, seed: int = 3) -> Any:
    """Three models without costs: a is better on easy requests, b on hard ones, c never."""
    texts, hard = requests(n, seed)
    generator = np.random.default_rng(seed + 1000)
    chances = np.stack([np.where(hard, 0.1, 0.95), np.where(hard, 0.9, 0.5), np.full(n, 0.2)], axis=1)
    return outcomes(texts, generator.random((n, 3)) < chances), hard


def test_without_costs_quality_alone_decides_among_more_than_two() -> None:
    table, hard = three()
    fitted = fit(table)
    assert fitted.policy.kind == "cost_weight"
    assert fitted.policy.level == 0
    assert [policy.level for policy in policies_of(_core.read_header(fitted.artifact))] == [0.0]
    choice = Router(fitted.artifact).route_features(table.features).choice
    assert (choice == np.where(hard, 1, 0)).mean() > 0.95
    assert any("quality alone" in each for each in fitted.warnings)
    with pytest.raises(OptionError, match="nobody said what the models cost"):
        dial_cost_cut(fitted.artifact, table, 0.3)
    with pytest.raises(OptionError, match="price of"):
        Router(fitted.artifact).route("Describe apple.", cost_weight=0.1)
    assert dial_share(fitted.artifact, table, "b", float((choice == 1).mean())).policy.level == 0


def test_without_costs_and_evidence_the_best_constant_stays() -> None:
    texts, _ = requests(160, 3)
    generator = np.random.default_rng(4)
    quality = generator.random((160, 4)) < np.array([0.5, 0.7, 0.5, 0.5])
    fitted = fit(outcomes(texts, quality))
    assert (fitted.decision == 1).mean() > 0.9, "nothing is cheaper, so nothing is given away"


def test_of_two_without_costs_the_better_is_the_dearer_in_words() -> None:
    table, _ = three()
    pair = outcomes(table.prompt, table.quality[:, :2])
    assert any(each.startswith("the table has no costs: b, the better") for each in fit(pair).warnings) == (
        table.quality[:, 1].mean() > table.quality[:, 0].mean()
    )


def test_prices_take_the_place_of_costs_and_go_into_the_artifact() -> None:
    table, _ = three()
    by_token = ModelInfo(input_cost_per_token=1e-6, output_cost_per_token=1e-5, expected_output_tokens=100)
    fitted = fit(table, prices={"a": 1e-4, "b": by_token, "c": 0.5})
    models = _core.read_header(fitted.artifact)["models"]
    assert (models[0]["price_request"], models[1]["price_output"], models[2]["price_request"]) == (1e-4, 1e-5, 0.5)
    decision = Router(fitted.artifact).route("Describe apple.")
    assert decision.costs is not None
    assert decision.costs["a"] == pytest.approx(1e-4)
    assert decision.costs["b"] == pytest.approx(1e-3 + decision.tokens * 1e-6)
    assert fitted.cost is not None
    assert fitted.cost[:, 1] == pytest.approx(1e-3 + table.features.tokens * 1e-6)
    assert len(policies_of(_core.read_header(fitted.artifact))) > 10
    assert not any("no costs" in each for each in fitted.warnings)


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ({"z": 1.0}, "the table's models are a, b, c"),
        ({"a": 1.0}, "none of b, c"),
        ({"a": ModelInfo(input_cost_per_token=1e-6)}, "output_cost_per_token"),
        ({"a": ModelInfo(output_cost_per_token=1e-6)}, "input_cost_per_token"),
        ({"a": ModelInfo(input_cost_per_token=1e-6, output_cost_per_token=1e-6)}, "how long a usual answer is"),
        ({"a": ModelInfo()}, "no price"),
        ({"a": "cheap"}, "give a number"),
    ],
)
def test_prices_that_do_not_say_it_all_are_refused(prices: Any, said: str) -> None:
    table, _ = three(40)
    with pytest.raises(OptionError, match=said):
        fit(table, prices=prices)


def test_weights_of_cost_span_what_is_known() -> None:
    levels, priced = cost_weights(np.array([[1.0, 3.0, np.nan], [1.0, 3.0, np.nan]]))
    assert priced == (True, True, False)
    assert (levels[0], levels[-1]) == (0, pytest.approx(1.5))
    assert cost_weights(None)[0].tolist() == [0.0]


def test_what_was_seen_is_kept_by_its_bounds() -> None:
    seen = CostSeen.of(np.array([10.0, 30.0]), np.array([0.5, -1.0]), np.array([1.0, 1.5]))
    assert seen == CostSeen((10.0, 30.0), (-1.0, 0.5), (1.0, 1.5), 0.05)


def without_costs_of(table: Outcomes, columns: list[int]) -> Outcomes:
    """The table, where these models' costs are unknown but for one row: a line needs two."""
    cost = np.tile([1e-4, 1e-3], (len(table), 1)) if table.cost is None else table.cost.copy()
    cost[1:, columns] = np.nan
    return replace(table, cost=cost)


@pytest.mark.parametrize(
    ("columns", "then", "never"),
    [
        ([0], "no costs of cheap: it is never chosen, however good", ["cheap"]),
        ([1], "no costs of middling: it is never chosen, however good", ["middling"]),
        ([0, 1], "no costs of cheap, middling: dear serves every request", ["cheap", "middling"]),
        ([2], "no costs of dear: dear, the best constant, serves every request", ["cheap", "middling"]),
        ([0, 2], "no costs of cheap, dear: dear, the best constant, serves every request", ["cheap", "middling"]),
    ],
)
def test_costs_of_some_models_only_are_said_and_what_follows_is_so(
    columns: list[int], then: str, never: list[str]
) -> None:
    fitted = fit(without_costs_of(trio(300, 71), columns))
    said = [warning for warning in fitted.warnings if "costs" in warning]
    assert len(said) == 1 and then in said[0]
    assert "prices" in said[0] and "models" in said[0], "a remedy"
    router = Router(fitted.artifact)
    for policy in ("quality", "balanced", "cheapest"):
        batch = router.route_batch(list(requests(100, 72)[0]), policy=policy)
        assert not {batch.models[index] for index in batch.choice} & set(never)


@pytest.mark.parametrize("column", [0, 1])
def test_of_two_models_with_costs_of_one_the_better_serves(column: int) -> None:
    """A threshold would call the other one, and nobody knows what that costs."""
    fitted = fit(without_costs_of(pair(300, 73), [column]))
    assert any("strong" in warning and "serves every request" in warning for warning in fitted.warnings)
    assert {name: fitted.policies.cost[name] for name in NAMES} == dict.fromkeys(NAMES, 1.0)
    router = Router(fitted.artifact)
    for policy in NAMES:
        assert set(router.route_batch(list(requests(100, 74)[0]), policy=policy).choice) == {1}


def test_costs_of_all_or_of_none_are_not_called_incomplete() -> None:
    for table in (trio(60, 75), replace(trio(60, 75), cost=None), pair(60, 75)):
        assert not any("no costs of" in warning for warning in fit(table).warnings)
