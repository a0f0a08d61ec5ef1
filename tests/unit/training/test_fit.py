"""Training: what is learned, what is not, and that the same rows and seed give the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import fitted_pair, fitted_trio, hardness, outcomes, pair, requests, sample, trio

from tiny_dancer import Fitted, Router, TrainingError, _core, calibrate, evaluate, fit
from tiny_dancer.errors import ArtifactError, DataError, OptionError
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.overlap import training_rows
from tiny_dancer.training.backends.linear import Linear
from tiny_dancer.training.fit import digest, steps
from tiny_dancer.training.fit import fit as fit_with
from tiny_dancer.training.judge import judge
from tiny_dancer.training.policy import NAMES, HeldOut, choose_policies, policy_path


def mean_quality(table, choice):
    return float(np.nanmean(table.quality[np.arange(len(table)), choice]))


def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    table = pair(60, 11)
    said: list[str] = []
    first = fit(table, seed=3, progress=said.append)
    assert fit(pair(60, 11), seed=3).artifact == first.artifact
    assert 0 < len(said) <= steps()
    header = _core.read_header(first.artifact)
    assert header["training"]["seed"] == 3
    assert header["training"]["rows"] == 60
    assert fit(table, seed=4).artifact != first.artifact


def test_a_learnable_signal_is_learned_and_holds_on_fresh_rows() -> None:
    fitted = fitted_pair()
    hard = hardness(fitted.outcomes.prompt or ())
    assert fitted.chosen
    assert fitted.decision[hard].mean() > 0.75
    assert fitted.decision[~hard].mean() < 0.1
    view = judge(fitted).pair
    assert view is not None
    apgr = next(method for method in view.methods if method.name == "router").apgr
    assert apgr.estimate > 0.7

    fresh = pair(600, 90)
    assert fresh.features is not None
    batch = Router(fitted.artifact).route_features(fresh.features)
    best = fresh.quality.mean(0).max()
    assert mean_quality(fresh, batch.choice) > best - 0.04
    assert batch.choice.mean() < 0.6, "half of the strong model's calls are saved"
    weak, strong = (batch.scores[:, column].astype(float) for column in (0, 1))
    hard = hardness(fresh.prompt or ())
    assert weak[hard].mean() < 0.35 < 0.75 < weak[~hard].mean()
    assert abs(strong.mean() - 0.9) < 0.07


def test_without_an_encoder_it_is_learned_all_the_same_and_decides_texts_as_their_features() -> None:
    table = pair(400, 7)
    fitted = fit(table, encoder=False)
    header = _core.read_header(fitted.artifact)
    assert header["features"]["encoder"] is None and fitted.chosen
    _core.Router(fitted.artifact, None)  # replays its self-checks
    fresh = pair(400, 93)
    assert fresh.features is not None and fresh.features.embedding.any()
    router = Router(fitted.artifact)
    batch = router.route_features(fresh.features)
    said = router.route_batch(list(fresh.prompt or ()))
    for name in ("scores", "likeness", "choice", "confidence"):
        assert np.array_equal(getattr(batch, name), getattr(said, name)), name
    hard = hardness(fresh.prompt or ())
    weak = batch.scores[:, 0]
    assert weak[hard].mean() < 0.4 < 0.7 < weak[~hard].mean()


def test_rows_that_an_artifact_without_encoder_was_trained_on_are_found_and_not_calibrated_on() -> None:
    table = pair(300, 8)
    artifact = fit(table, encoder=False).artifact
    header = _core.read_header(artifact)
    assert table.features is not None and header["likeness"]["rows"] > 0
    assert training_rows(header, table.features).share > 0.9
    with pytest.raises(DataError, match="trained on"):
        calibrate(artifact, table, max_quality_loss=0.3)
    certified = calibrate(artifact, pair(600, 94), max_quality_loss=0.2)
    assert _core.read_header(certified.artifact)["features"]["encoder"] is None
    assert Router(certified.artifact).guarantee is not None


def test_costs_are_learned_and_money_is_saved_at_the_same_quality() -> None:
    fitted = fitted_trio()
    fresh = trio(600, 91)
    assert fresh.features is not None
    assert fresh.cost is not None
    batch = Router(fitted.artifact).route_features(fresh.features)
    rows = np.arange(len(fresh))
    assert mean_quality(fresh, batch.choice) > fresh.quality[:, 2].mean() - 0.06
    spent, dear = fresh.cost[rows, batch.choice].mean(), fresh.cost[:, 2].mean()
    assert spent < 0.7 * dear
    error = np.abs(batch.costs - fresh.cost) / fresh.cost
    assert np.median(error) < 0.2
    assert _core.read_header(fitted.artifact)["best_constant"] in (0, 1, 2)


def test_noise_teaches_nothing_that_costs_quality() -> None:
    generator = np.random.default_rng(5)
    texts, _ = requests(300, 31)
    quality = (generator.random((300, 2)) < [0.6, 0.8]).astype(float)
    fitted = fit(outcomes(texts, quality))
    fresh = pair(600, 92)
    assert fresh.features is not None
    batch = Router(fitted.artifact).route_features(fresh.features)
    assert batch.choice.mean() > 0.8, "the better model keeps nearly all requests"
    verdict = judge(fitted).verdict.choice
    assert verdict != "route"


def test_unobserved_qualities_train_evaluate_and_calibrate() -> None:
    table = trio(300, 12, missing=0.3)
    assert np.isnan(table.quality).mean() > 0.25
    fitted = fit(table)
    assert np.isfinite(fitted.quality).all()
    fresh = trio(500, 93, missing=0.1)
    assert fresh.features is not None
    batch = Router(fitted.artifact).route_features(fresh.features)
    assert np.isfinite(batch.scores).all()
    whole = trio(500, 93)
    cheap = batch.scores[:, 0]
    hard = hardness(whole.prompt or ())
    assert cheap[hard].mean() + 0.3 < cheap[~hard].mean(), "the signal is found behind the gaps"
    found = evaluate(fitted.artifact, fresh)
    assert found.rows <= 500
    assert np.isfinite(found.gap_reference.estimate)
    certified = calibrate(fitted.artifact, fresh, max_quality_loss=0.3, confidence=0.9)
    assert certified.certification is not None
    assert certified.certification.risks[certified.certification.index or 0] < 0.3


@pytest.mark.parametrize(("rows", "models"), [(1, 1), (1, 2), (2, 2), (2, 3), (19, 2), (40, 1)])
def test_too_few_rows_or_models_give_the_best_constant(rows: int, models: int) -> None:
    texts, _ = requests(rows, 7)
    quality = np.tile(np.linspace(0.2, 0.9, models), (rows, 1))
    fitted = fit(outcomes(texts, quality))
    assert fitted.chosen == ()
    assert fitted.policy.kind == "constant"
    decision = Router(fitted.artifact).route("What is 2 + 2?")
    assert decision.model == "abc"[models - 1]
    assert decision.routed_by == "default"
    assert decision.reason == "best_constant"
    assert decision.scores[decision.model] == pytest.approx(0.9 if models > 1 else 0.2, abs=1e-6)
    assert 0 <= decision.confidence <= 1


def test_a_table_that_teaches_nothing_is_said_to() -> None:
    texts, _ = requests(60, 3)
    same = np.repeat(np.random.default_rng(0).random((60, 1)), 2, axis=1)
    for table, said in (
        (outcomes(texts[:5], same[:5]), "5 independent rows are too few to learn from"),
        (outcomes(texts, same), "no row tells the models apart"),
        (outcomes(texts, same[:, :1]), "there is one model"),
    ):
        assert said in fit(table).warnings[0]


def test_rows_that_are_all_one_group_give_the_best_constant() -> None:
    texts, _ = requests(40, 7)
    fitted = fit(outcomes(texts, np.tile([0.9, 0.2], (40, 1)), group=np.zeros(40, np.int64)))
    assert Router(fitted.artifact).route("What is 2 + 2?").model == "a"


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_equal_labels_give_a_constant_that_expects_them(value: float) -> None:
    texts, _ = requests(60, 8)
    fitted = fit(outcomes(texts, np.full((60, 2), value)))
    decision = Router(fitted.artifact).route("hello there")
    assert all(score == pytest.approx(value, abs=1e-6) for score in decision.scores.values())
    assert decision.model == "a", "of equals the first"


def test_one_constant_column_beside_one_that_can_be_learned() -> None:
    texts, hard = requests(120, 9)
    generator = np.random.default_rng(1)
    weak = generator.random(120) < np.where(hard, 0.05, 0.97)
    fitted = fit(outcomes(texts, np.stack([weak, np.ones(120)], axis=1)))
    router = Router(fitted.artifact)
    fresh, hard = requests(200, 94)
    scores = router.route_batch(fresh).scores
    assert np.abs(scores[:, 1] - 1).max() < 0.2
    assert scores[hard, 0].mean() + 0.4 < scores[~hard, 0].mean()


def test_fifty_models_stay_small() -> None:
    texts, hard = requests(120, 10)
    generator = np.random.default_rng(2)
    ability = np.linspace(0.1, 0.9, 50)
    quality = (generator.random((120, 50)) < np.where(hard[:, None], ability, 0.85)).astype(float)
    fitted = fit(outcomes(texts, quality))
    header = _core.read_header(fitted.artifact)
    assert header["components"] <= 16
    assert len(fitted.artifact) < 1_200_000
    batch = Router(fitted.artifact).route_batch(texts)
    assert batch.scores.shape == (120, 50)
    assert batch.scores[hard, 0].mean() < batch.scores[hard, 49].mean()


def test_weights_count_rows() -> None:
    """With tiny weights on the rows of one kind, the mean follows the other kind."""
    texts, hard = requests(60, 13)
    quality = np.stack([~hard, hard], axis=1).astype(float)
    for heavy, best in ((hard, "b"), (~hard, "a")):
        table = outcomes(texts, quality, weight=np.where(heavy, 1.0, 1e-3))
        fitted = fit(table)
        header = _core.read_header(fitted.artifact)
        assert header["models"][header["best_constant"]]["name"] == best
        assert fitted.outcomes.weight is table.weight


def test_a_weight_of_two_is_a_row_twice() -> None:
    """For what has no folds: the constant artifact of few rows."""
    texts, _ = requests(12, 14)
    generator = np.random.default_rng(3)
    quality = generator.random((12, 2))
    weight = np.where(np.arange(12) < 5, 2.0, 1.0)
    twice = np.append(np.arange(12), np.arange(5))
    weighted = Router(fit(outcomes(texts, quality, weight=weight)).artifact).route("x y z")
    doubled = Router(fit(outcomes(tuple(texts[i] for i in twice), quality[twice])).artifact).route("x y z")
    assert weighted.model == doubled.model
    for name, score in weighted.scores.items():
        assert score == pytest.approx(doubled.scores[name], abs=1e-5)


def test_only_the_relative_size_of_weights_counts() -> None:
    texts, _ = requests(15, 15)
    quality = np.random.default_rng(4).random((15, 2))
    one = fit(outcomes(texts, quality)).artifact
    assert fit(outcomes(texts, quality, weight=np.full(15, 7.0))).artifact == one


def test_groups_and_near_duplicates_are_never_split_across_folds() -> None:
    table = pair(60, 11)
    group = np.arange(60) // 3
    texts = list(table.prompt or ())
    texts[59] = texts[0] + " "
    fitted = fit(outcomes(tuple(texts), table.quality, group=group))
    for each in np.unique(group):
        assert len(np.unique(fitted.folds[group == each])) == 1
    assert fitted.folds[0] == fitted.folds[59], "the near duplicate"
    assert fitted.outcomes.features is not None
    joined = assign_groups(fitted.outcomes.features, group)
    assert joined[0] == joined[59]
    assert len(np.unique(fitted.folds)) == 5


def test_a_model_without_costs_is_not_routed_to_for_money() -> None:
    table = trio(150, 16)
    assert table.cost is not None
    cost = table.cost.copy()
    cost[:, 1] = np.nan
    fitted = fit(replace(table, cost=cost))
    router = Router(fitted.artifact)
    fresh = trio(200, 95)
    assert fresh.features is not None
    batch = router.route_features(fresh.features)
    assert np.isnan(batch.costs[:, 1]).all()
    assert np.isfinite(batch.costs[:, [0, 2]]).all()
    assert not (batch.choice == 1).any()
    decision = router.route("Describe apple.")
    assert decision.costs is not None
    assert decision.costs["middling"] is None
    assert fitted.policy.decide(batch.scores.astype(float), batch.costs).tolist() == batch.choice.tolist()


def test_latencies_are_learned() -> None:
    texts, _ = requests(15, 17)
    quality = np.full((15, 2), 0.5)
    latency = np.stack([np.full(15, 0.5), np.full(15, 4.0)], axis=1)
    latency[3, 0] = np.nan
    router = Router(fit(outcomes(texts, quality, latency=latency)).artifact)
    assert router.route("some text", max_latency=1.0).model == "a"
    assert router.route("some text", max_latency=1.0, exclude=[]).model == "a"
    assert router.route("some text", pin="b", max_latency=5.0).model == "b"


def test_nothing_observed_is_refused() -> None:
    texts, _ = requests(5, 18)
    with pytest.raises(TrainingError, match="no observed value"):
        fit(outcomes(texts, np.full((5, 2), np.nan)))
    half = np.full((5, 2), np.nan)
    half[:, 0] = 1.0
    with pytest.raises(TrainingError, match="b never observed"):
        fit(outcomes(texts, half))
    with pytest.raises(TrainingError, match="features"):
        fit(replace(outcomes(texts, np.ones((5, 2))), features=None))


@pytest.mark.parametrize("value", [np.inf, -np.inf, -0.1, 1.1])
def test_quality_outside_its_range_is_refused_in_outcomes_made_by_hand(value: float) -> None:
    texts, _ = requests(5, 18)
    quality = np.full((5, 2), 0.5)
    quality[3, 1] = value
    with pytest.raises(TrainingError) as caught:
        fit(outcomes(texts, quality))
    assert caught.value.field == "quality"


@pytest.mark.parametrize(
    ("field", "value"), [("cost", -1.0), ("cost", np.inf), ("latency", -1.0), ("weight", 0.0)]
)
def test_other_values_outside_their_range_are_refused(field: str, value: float) -> None:
    texts, _ = requests(5, 18)
    given = np.ones(5) if field == "weight" else np.ones((5, 2))
    given.flat[2] = value
    with pytest.raises(TrainingError) as caught:
        fit(outcomes(texts, np.full((5, 2), 0.5), **{field: given}))
    assert caught.value.field == field


def test_the_bundled_sample_is_what_it_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    table = sample(tmp_path_factory.mktemp("sample"))
    assert 1000 <= len(table) <= 1500
    assert table.prompt is None, "no third-party sentence is committed"
    assert table.messages is None
    assert table.features is not None
    assert len(table.models) == 2
    assert len(_core.data_file("sample.parquet")) <= 2 * 2**20
    assert any(task.startswith("gsm8k") for task in table.task)
    assert any(task.startswith("mmlu") for task in table.task)


LINEAR = ((Linear(),),)
"""One backend that is fitted in no time."""


def held_out_of(fitted: Fitted) -> HeldOut:
    """What the policy is chosen on, put together from what a fit gives back."""
    table = fitted.outcomes
    return HeldOut(fitted.quality, fitted.cost, table.quality, table.cost, table.weight, table.group)


def test_no_rows_outcome_has_a_say_in_its_own_decision() -> None:
    """The policy for a fold is the one that the other folds' outcomes make the default."""
    differ = 0
    for seed in (1, 2):
        generator = np.random.default_rng(seed)
        table = trio(100, 70 + seed)
        quality = np.where(generator.random((100, 3)) < 0.35, generator.random((100, 3)) < 0.6, table.quality)
        fitted = fit_with(replace(table, quality=quality.astype(float)), seed=seed, families=LINEAR)
        assert fitted.chosen == ("linear",)
        rows = held_out_of(fitted)
        best = fitted.policy.best_constant
        path = policy_path(rows, best)
        for fold in np.unique(fitted.folds):
            own = fitted.folds == fold
            policy = choose_policies(path, rows.rows(~own), best).balanced
            wanted = policy.decide(fitted.quality[own], rows.rows(own).cost)
            assert fitted.decision[own].tolist() == wanted.tolist()
        assert fitted.policy == choose_policies(path, rows, best).balanced
        differ += int((fitted.policy.decide(fitted.quality, fitted.cost) != fitted.decision).sum())
    assert differ > 0, "which is not the same as having chosen it on all rows"


def test_twenty_rows_are_the_fewest_anything_is_learned_from() -> None:
    texts, hard = requests(20, 77)
    quality = np.stack([~hard, hard], axis=1).astype(float)
    for rows in (19, 20):
        said: list[str] = []
        fit_with(outcomes(texts[:rows], quality[:rows]), families=LINEAR, progress=said.append)
        assert bool(said) is (rows == 20)
    grouped: list[str] = []
    fit_with(outcomes(texts, quality, group=np.arange(20) // 2), families=LINEAR, progress=grouped.append)
    assert grouped == [], "rows of a group count once"


def test_progress_is_reported_as_often_as_announced() -> None:
    said: list[str] = []
    fitted = fit_with(pair(60, 11), families=LINEAR, progress=said.append)
    assert fitted.chosen == ("linear",)
    assert len(said) == steps(LINEAR) == 6
    assert said[-1] == "linear, all rows"
    assert steps(((Linear(), Linear("other")), (Linear("third"),))) == 18


def test_the_header_says_what_was_trained_on_what() -> None:
    table = replace(pair(60, 11), group=np.arange(60) // 2)
    families = ((Linear(), Linear("linear_loose", ridge=0.02)),)
    fitted = fit_with(table, seed=5, families=families, version="1.2.3", created="then")
    header = _core.read_header(fitted.artifact)
    assert (header["version"], header["created"]) == ("1.2.3", "then")
    training = header["training"]
    assert (training["rows"], training["groups"], training["seed"]) == (60, 30, 5)
    assert training["backends"] == list(fitted.chosen) != []
    assert training["explained"] == pytest.approx(fitted.explained, abs=1e-6)
    assert set(fitted.explained) == {"linear", "linear_loose"}
    assert training["data_digest"] == digest(table) != digest(pair(60, 12))
    assert digest(table) == digest(replace(table, sample_id=table.sample_id[::-1]))
    changed = table.quality.copy()
    changed[7, 1] = 1 - changed[7, 1]
    assert digest(replace(table, quality=changed)) != digest(table)
    assert digest(replace(table, models=("other", "strong"))) != digest(table)
    path = policy_path(held_out_of(fitted), fitted.policy.best_constant)
    assert header["policy_path"] == [policy.level for policy in path]


def test_confidence_is_how_often_no_other_model_was_better() -> None:
    """Expectations say nothing, so the confidence is the share of requests, with one more each way (Laplace)."""
    texts, _ = requests(10, 78)
    won = np.arange(10) < 7
    table = outcomes(texts, np.stack([np.where(won, 0.9, 0.0), np.where(won, 0.1, 0.5)], axis=1))
    assert Router(fit(table).artifact).route("x y z").confidence == pytest.approx((7 + 1) / (10 + 2))
    light = replace(table, weight=np.where(won, 1.0, 1 / 3))
    assert Router(fit(light).artifact).route("x y z").confidence == pytest.approx((10 * 7 / 8 + 1) / 12)
    holed = replace(table, quality=np.where((np.arange(10) < 2)[:, None] & [False, True], np.nan, table.quality))
    assert Router(fit(holed).artifact).route("x y z").confidence == pytest.approx((5 + 1) / (8 + 2))
    even = replace(table, quality=np.full((10, 2), 0.4))
    assert Router(fit(even).artifact).route("x y z").confidence == pytest.approx(11 / 12), "as good is no better"
    apart = replace(table, quality=np.where(won[:, None] == [True, False], 0.5, np.nan))
    assert Router(fit(apart).artifact).route("x y z").confidence == 0.5, "nothing is known"


def test_confidence_rises_with_the_margin_and_comes_true() -> None:
    fitted = fitted_pair()
    fresh = pair(800, 96)
    assert fresh.features is not None
    batch = Router(fitted.artifact).route_features(fresh.features)
    rows = np.arange(800)
    no_worse = fresh.quality[rows, batch.choice] >= fresh.quality[rows, 1 - batch.choice]
    margin = batch.scores[rows, batch.choice] - batch.scores[rows, 1 - batch.choice]
    order = np.argsort(margin)
    assert (np.diff(batch.confidence[order]) >= -1e-6).all()
    assert batch.confidence.mean() == pytest.approx(no_worse.mean(), abs=0.05)
    sure = batch.confidence >= np.quantile(batch.confidence, 0.7)
    assert batch.confidence[sure].mean() == pytest.approx(no_worse[sure].mean(), abs=0.06)


def test_where_the_best_has_no_price_nothing_is_said_to_be_cheaper() -> None:
    table = trio(100, 79)
    assert table.cost is not None
    cost = table.cost.copy()
    best = int(table.quality.mean(0).argmax())
    cost[:, best] = np.nan
    fitted = fit_with(replace(table, cost=cost), families=LINEAR)
    assert fitted.chosen
    assert fitted.policy.kind == "constant"
    assert fitted.policy.best_constant == best
    assert (fitted.decision == best).all()
    assert _core.read_header(fitted.artifact)["policy_path"] == [0.0], "quality alone can be certified"


def test_all_models_nobody_observed_are_named() -> None:
    texts, _ = requests(3, 18)
    with pytest.raises(TrainingError, match="a, c never observed"):
        fit(outcomes(texts, np.array([[np.nan, 1.0, np.nan]] * 3)))
    with pytest.raises(TrainingError, match=r"inf in row 2"):
        fit(outcomes(texts, np.ones((3, 2)), cost=np.array([[1.0, 1], [1, 1], [1, np.inf]])))


def test_three_policies_are_fixed_and_each_is_chosen_by_its_name() -> None:
    table = trio(300, 81)
    fitted = {name: fit_with(table, families=LINEAR, policy=name) for name in NAMES}
    routers = {name: Router(each.artifact) for name, each in fitted.items()}
    texts = requests(60, 82)[0]
    for name, router in routers.items():
        header = router.header
        assert header["policies"]["in_force"] == name
        assert header["policy"] == header["policies"][name] == fitted[name].policies.get(name).header()
        own = [router.route(text) for text in texts]
        for other in routers.values():
            asked = [other.route(text, policy=name) for text in texts]
            assert [each.model for each in asked] == [each.model for each in own]
            assert all(each.scores == mine.scores for each, mine in zip(asked, own, strict=True))
        assert {each.routed_by for each in own} <= {"learned", "default"}
    cheapest = [routers["balanced"].route(text, policy="cheapest").model for text in texts]
    assert cheapest == [routers["quality"].route(text, policy="cost").model for text in texts], "its former name"
    assert routers["cheapest"].header["policy"]["kind"] == "cost_weight"
    with pytest.raises(OptionError, match="quality, balanced, cheapest"):
        fit(table, policy="thrifty")  # type: ignore[arg-type]


def test_a_policy_that_chooses_no_model_is_refused_whatever_its_name() -> None:
    header = _core.read_header(fitted_trio().artifact)
    for wrong in (
        {"kind": "constant", "model": 3},
        {"kind": "threshold", "weak": 1, "strong": 1, "threshold": 0.0},
        {"kind": "cost_weight", "cost_weight": -1.0, "unit": "usd"},
    ):
        for name in NAMES:
            policies = {**header["policies"], name: wrong}
            changed = {**header, "policies": policies, "self_check": []}
            with pytest.raises(ArtifactError, match=name):
                Router(_core.with_header(fitted_trio().artifact, changed))
    # An artifact that holds a single policy scales it, as it ever did.
    single = {key: value for key, value in header.items() if key != "policies"}
    router = Router(_core.with_header(fitted_trio().artifact, {**single, "self_check": []}))
    assert router.route("Compute 12 and 13?", policy="balanced").routed_by == "learned"
    assert router.route("Compute 12 and 13?", policy="quality").routed_by == "override"
