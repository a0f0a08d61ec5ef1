"""Models added, repriced and taken out: what changes, what stays, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.synthetic import fitted_trio, hardness, outcomes, requests, trio

import tiny_dancer
from tiny_dancer import ModelInfo, Router, _core, fit
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.training.calibrate import calibrate
from tiny_dancer.training.change import Prior, add_model, remove_model, reprice
from tiny_dancer.training.policy import policies_of

if TYPE_CHECKING:
    from pathlib import Path

ASKED, HARD = requests(200, 77)
DECLARED, OTHER_MODELS, OTHER_PRICES = (
    "a model was added without outcomes: what is expected of it is declared, not measured",
    "the certificate was earned with other models",
    "the certificate was earned with other prices or output lengths, which its policy weighs",
)


def newcomer(n: int, seed: int = 5, **given: Any) -> Any:
    """A model right on hard requests only, cheaply."""
    texts, hard = requests(n, seed)
    chance = np.where(hard, 0.97, 0.15)
    quality = (np.random.default_rng(seed + 9).random(n) < chance).astype(np.float64)[:, None]
    return outcomes(texts, quality, **{"models": ("new",), "cost": np.full((n, 1), 2e-6), **given})


def pair_rows(n: int, seed: int) -> Any:
    """A weak model right on easy requests only, and a strong one of a hundred times its price."""
    texts, hard = requests(n, seed)
    generator = np.random.default_rng(seed + 1)
    quality = np.stack([generator.random(n) < np.where(hard, 0.1, 0.92), generator.random(n) < 0.93], axis=1)
    return outcomes(texts, quality, models=("weak", "strong"), cost=np.tile([1e-4, 1e-2], (n, 1)))


@cache
def priced_pair() -> tiny_dancer.Fitted:
    """A router of such a pair."""
    return fit(pair_rows(300, 12))


@cache
def certified() -> bytes:
    """The trio's artifact with a certificate."""
    return calibrate(fitted_trio().artifact, trio(400, 71), max_quality_loss=0.3).artifact


def test_a_model_right_on_hard_requests_is_found_so_from_few_outcomes() -> None:
    artifact = fitted_trio().artifact
    before = Router(artifact).route_batch(ASKED)
    for rows in (60, 200):
        added = add_model(artifact, "new", newcomer(rows))
        after = Router(added.artifact).route_batch(ASKED)
        assert after.models == ("cheap", "middling", "dear", "new")
        assert after.scores[:, :3] == pytest.approx(before.scores, abs=1e-6), "what was known stays"
        expected = after.scores[:, 3]
        assert expected[HARD].mean() - expected[~HARD].mean() > 0.5
        assert np.corrcoef(expected, HARD)[0, 1] > 0.9
        assert added.method == "outcomes"
        assert added.error < added.constant_error
        assert added.rows == rows
    assert added.cleared
    after = Router(added.artifact).route_batch(ASKED, policy="cheapest")
    assert (after.choice[HARD] == 3).mean() > 0.8, "as good as the dear one, and far cheaper"
    assert (after.choice[~HARD] == 3).mean() < 0.1
    header = _core.read_header(added.artifact)
    assert header["added"][0]["rows"] == 200
    assert header["models"][3]["cost_seen"]["cost"] == [2e-6, 2e-6]
    assert len(header["self_check"]) == len(_core.read_header(artifact)["self_check"])


def test_a_model_that_tells_nothing_is_expected_to_be_a_constant() -> None:
    texts, _ = requests(100, 6)
    quality = (np.random.default_rng(8).random((100, 1)) < 0.4).astype(np.float64)
    added = add_model(fitted_trio().artifact, "new", outcomes(texts, quality, models=("new",)), price=1e-6)
    expected = Router(added.artifact).route_batch(ASKED).scores[:, 3]
    assert expected.mean() == pytest.approx(0.4, abs=0.1)
    assert expected.std() < 0.1


def test_the_row_tends_to_the_prior_with_few_rows_and_to_the_truth_with_many() -> None:
    generator = np.random.default_rng(0)
    mean, basis = np.array([0.5, 0.6, 0.4]), np.array([[1.0, 0.0], [0.8, 0.2], [0.9, -0.2]])
    prior = Prior.of(mean, basis, None, 10.0)
    components = generator.normal(0, 0.2, (4000, 2))
    truth = 0.7 + components @ [-1.0, 0.5]
    quality = truth + generator.normal(0, 0.1, 4000)
    one = prior.updated(components[:1], quality[:1], np.ones(1))
    assert abs(one.slope[0] - 0.9) < 0.2
    assert abs(one.level - 0.5) < 0.05
    many = prior.updated(components, quality, np.ones(4000))
    assert many.slope == pytest.approx([-1.0, 0.5], abs=0.15)
    assert many.level == pytest.approx(0.7, abs=0.01)
    claimed = Prior.of(mean, basis, 1, 1e9).updated(components, quality, np.ones(4000))
    assert claimed.slope == pytest.approx(basis[1], abs=0.01)
    assert claimed.level == pytest.approx(0.6, abs=0.01)


def test_without_outcomes_it_is_declared_and_every_decision_says_so() -> None:
    added = add_model(fitted_trio().artifact, "new", like="dear")
    assert (added.method, added.rows) == ("declared", 0)
    assert "declared, not measured" in added.notes[0]
    router = Router(added.artifact)
    decision = router.route(ASKED[0])
    assert decision.scores["new"] == pytest.approx(decision.scores["dear"], abs=1e-6)
    assert decision.costs is not None
    assert decision.costs["new"] == decision.costs["dear"]
    assert decision.guarantee is None
    assert decision.guarantee_note == DECLARED
    assert set(router.route_batch(ASKED[:3]).guarantee_notes) == {DECLARED}
    cheaper = Router(add_model(fitted_trio().artifact, "new", like="dear", price=1e-9).artifact)
    choice = cheaper.route_batch(ASKED, cost_weight=1.0)
    assert "dear" not in {choice.models[each] for each in choice.choice}, "as good, and next to free"


def test_a_twin_counts_for_as_many_rows_as_are_said() -> None:
    few = newcomer(30)
    means = [
        Router(add_model(fitted_trio().artifact, "new", few, like="dear", prior_rows=rows).artifact)
        .route_batch(ASKED)
        .scores[:, 3]
        .mean()
        for rows in (0.1, 10.0, 10_000.0)
    ]
    dear = Router(fitted_trio().artifact).route_batch(ASKED).scores[:, 2].mean()
    assert abs(means[2] - dear) < abs(means[1] - dear) < abs(means[0] - dear)
    assert means[2] == pytest.approx(dear, abs=0.1)


def test_a_certificate_ends_and_says_why() -> None:
    assert Router(certified()).route(ASKED[0]).guarantee is not None
    for artifact, why in (
        (add_model(certified(), "new", newcomer(60)).artifact, OTHER_MODELS),
        (add_model(certified(), "new", like="cheap").artifact, DECLARED),
        (remove_model(certified(), "middling"), OTHER_MODELS),
        (reprice(certified(), {"dear": 1.0}), OTHER_PRICES),
    ):
        decision = Router(artifact).route(ASKED[0])
        assert decision.guarantee is None
        assert decision.guarantee_note == why
        assert Router(artifact).uncertified == why
    plain = Router(add_model(fitted_trio().artifact, "new", newcomer(60)).artifact)
    assert plain.uncertified == _core.UNCOVERED[0], "there was none to end"


def test_a_certified_budget_ends_with_other_prices_whatever_the_policy_weighs() -> None:
    artifact = calibrate(priced_pair().artifact, pair_rows(300, 21), budget=1e-3, max_exceeded=0.9).artifact
    assert _core.read_header(artifact)["policy"]["kind"] == "threshold", "which weighs no costs"
    assert Router(artifact).route(ASKED[0]).guarantee is not None
    for given in (
        {"strong": ModelInfo(input_cost_per_token=1.0, output_cost_per_token=1.0, expected_output_tokens=10)},
        {"weak": ModelInfo(cost_per_request=0.5)},
    ):
        for router in (Router(artifact, models=given), Router(reprice(artifact, given))):
            decision = router.route(ASKED[0])
            assert decision.guarantee is None
            assert decision.guarantee_note == router.uncertified == OTHER_PRICES
            assert set(router.route_batch(ASKED).guarantee_notes) == {OTHER_PRICES}
    for same in ({"strong": "strong"}, {"strong": ModelInfo(context_window=9000)}):
        assert Router(artifact, models=same).route(ASKED[0]).guarantee is not None


def test_a_strong_model_that_costs_less_than_the_weak_one_is_told() -> None:
    artifact = calibrate(priced_pair().artifact, pair_rows(300, 21), max_quality_loss=0.3).artifact
    assert Router(artifact).costs_turned is None
    for prices, turned in (({"strong": 2e-4}, False), ({"strong": 5e-5}, True), ({"weak": 1.0}, True)):
        said = Router(reprice(artifact, prices)).costs_turned
        assert (said is not None) == turned
        given = {name: ModelInfo(cost_per_request=price) for name, price in prices.items()}
        assert Router(artifact, models=given).costs_turned == said, "the same for one router only"
        if said is not None:
            assert said.startswith("strong costs less than weak at these prices")
            assert "tiny-dancer train TABLE --prices weak=… --prices strong=…" in said
    assert Router(fitted_trio().artifact).costs_turned is None
    tiny = {"weak": ModelInfo(context_window=1, cost_per_request=1.0), "strong": ModelInfo(context_window=1)}
    assert Router(artifact, models=tiny).costs_turned is None


def test_loading_warns_of_prices_that_turn_a_threshold_round(tmp_path: Path) -> None:
    path = tmp_path / "priced.safetensors"
    path.write_bytes(calibrate(priced_pair().artifact, pair_rows(300, 21), max_quality_loss=0.3).artifact)
    Router.load(path, models={"weak": ModelInfo(name="w", cost_per_request=5e-5)})
    with pytest.warns(UserWarning, match="^strong costs less than w at these prices"):
        Router.load(path, models={"weak": ModelInfo(name="w", cost_per_request=1.0)})


def test_rows_it_was_added_from_are_training_rows() -> None:
    table = newcomer(100)
    added = add_model(fitted_trio().artifact, "new", table)
    full = replace(
        trio(100, 5), models=("cheap", "middling", "dear", "new"), cost=None, quality=np.full((100, 4), 0.5)
    )
    with pytest.raises(DataError, match="trained on"):
        calibrate(added.artifact, full, max_quality_loss=0.1)


def test_a_pair_becomes_three_and_its_threshold_a_weight_of_cost() -> None:
    pair = priced_pair()
    added = add_model(pair.artifact, "new", newcomer(150, cost=np.full((150, 1), 1e-3)))
    header = _core.read_header(added.artifact)
    if pair.policy.kind == "threshold":
        assert header["policy"]["kind"] == "cost_weight"
        dearer = 1e-2 - 1e-4
        assert header["policy"]["cost_weight"] == pytest.approx(max(0, pair.policy.level) / dearer, rel=0.05)
    path = policies_of(header)
    assert all(policy.kind == "cost_weight" and policy.level >= 0 for policy in path)
    choice = Router(added.artifact).route_batch(ASKED)
    assert choice.models == ("weak", "strong", "new")
    assert np.isfinite(choice.costs).all()


def test_few_outcomes_do_not_move_requests() -> None:
    added = add_model(fitted_trio().artifact, "new", newcomer(6))
    assert not added.cleared
    assert any("do not show that leaving" in note for note in added.notes)
    choice = Router(added.artifact).route_batch(ASKED).choice
    assert (choice == Router(fitted_trio().artifact).route_batch(ASKED).choice).all()
    assert Router(added.artifact).route(ASKED[0], pin="new").model == "new"


def test_a_model_taken_out_leaves_the_others_as_they_were() -> None:
    artifact = fitted_trio().artifact
    before = Router(artifact).route_batch(ASKED)
    for index, name in enumerate(before.models):
        router = Router(remove_model(artifact, name))
        after = router.route_batch(ASKED)
        kept = [m for m in range(3) if m != index]
        assert after.models == tuple(before.models[m] for m in kept)
        assert after.scores == pytest.approx(before.scores[:, kept], abs=1e-6)
        assert after.models[router.header["best_constant"]] in after.models
    there = add_model(artifact, "new", newcomer(60)).artifact
    back = Router(remove_model(there, "new")).route_batch(ASKED)
    assert (back.choice == before.choice).all()
    assert back.scores == pytest.approx(before.scores, abs=1e-6)


def test_of_a_pair_the_one_left_is_the_constant() -> None:
    table = trio(120, 3)
    pair = fit(replace(table, models=("a", "b"), quality=table.quality[:, :2], cost=None))
    left = Router(remove_model(pair.artifact, "a"))
    assert {left.route(text).model for text in ASKED[:5]} == {"b"}
    with pytest.raises(OptionError, match="one model at least"):
        remove_model(remove_model(pair.artifact, "a"), "b")


def test_prices_change_what_is_chosen_and_nothing_else() -> None:
    artifact = fitted_trio().artifact
    dear = ModelInfo(input_cost_per_token=1.0, output_cost_per_token=1.0, expected_output_tokens=10)
    router = Router(reprice(artifact, {"dear": dear}))
    batch = router.route_batch(ASKED)
    assert batch.costs[:, 2] == pytest.approx(batch.tokens + 10.0)
    assert batch.scores == pytest.approx(Router(artifact).route_batch(ASKED).scores)
    if router.header["policy"]["kind"] == "cost_weight" and router.header["policy"]["cost_weight"] > 0:
        assert (batch.choice == 2).mean() == 0 or router.header["best_constant"] == 2
    with pytest.raises(OptionError, match="output_cost_per_token"):
        reprice(artifact, {"dear": ModelInfo(input_cost_per_token=1.0)})


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("dear", {"like": "cheap"}, "has it already"),
        ("a|b", {"like": "cheap"}, "a table's column"),
        (" new", {"like": "cheap"}, "a table's column"),
        ("prompt", {"like": "cheap"}, "a table's column"),
        ("", {"like": "cheap"}, "a table's column"),
        ("new", {"like": "nobody"}, "the artifact's models are cheap, middling, dear"),
        ("new", {}, "--like a model"),
        ("new", {"like": "dear", "prior_rows": 0.0}, "above 0"),
        ("new", {"like": "dear", "price": ModelInfo(output_cost_per_token=1e-6)}, "input_cost_per_token"),
    ],
)
def test_what_cannot_be_added_is_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        add_model(fitted_trio().artifact, name, **given)


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="a column new"):
        add_model(fitted_trio().artifact, "new", trio(30, 4))
    with pytest.raises(OptionError, match="price of new"):
        add_model(fitted_trio().artifact, "new", newcomer(30, cost=None))
    with pytest.raises(DataError, match="no outcome"):
        add_model(fitted_trio().artifact, "new", newcomer(30, models=("new",)).rows(np.zeros(0, np.int64)))
    with pytest.raises(OptionError, match="nobody"):
        remove_model(fitted_trio().artifact, "nobody")


def test_the_public_function_reads_tables_and_paths(tmp_path: Any) -> None:
    table = newcomer(40)
    rows = ["prompt,new,new|total_cost,dear"]
    rows += [
        f"{text.replace(',', ' ')},{int(q)},0.000002,1"
        for text, q in zip(table.prompt, table.quality[:, 0], strict=True)
    ]
    path = tmp_path / "its-outcomes.csv"
    path.write_text("\n".join(rows) + "\n")
    added = tiny_dancer.add_model(fitted_trio().artifact, "new", path)
    assert added.rows == 40
    assert Router(added.artifact).models[-1] == "new"
    assert hardness(table.prompt).any()
