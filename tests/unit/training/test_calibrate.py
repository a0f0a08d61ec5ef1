"""Certificates and dials: what they say, what they refuse, and that they keep their promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from tests.synthetic import fitted_pair, fitted_trio, outcomes, pair, requests, trio

from tiny_dancer import (
    DataError,
    ModelInfo,
    NotCertifiedError,
    OptionError,
    Router,
    _core,
    calibrate,
    evaluate,
    fit,
)
from tiny_dancer.evaluation.guarantee import RISK_BOUNDS, certify, policy_losses
from tiny_dancer.evaluation.results import to_dict
from tiny_dancer.training.backends.linear import Linear
from tiny_dancer.training.calibrate import Calibrated, Expected, dial_cost_cut, dial_share, with_models
from tiny_dancer.training.data.featurised import joined_features
from tiny_dancer.training.fit import digest
from tiny_dancer.training.fit import fit as fit_with
from tiny_dancer.training.policy import Policy, policies_of

TEXTS = requests(60, 79)[0]


@pytest.fixture(scope="module")
def certified() -> Calibrated:
    return calibrate(
        fitted_pair().artifact, pair(500, 40), max_quality_loss=0.1, confidence=0.9, date="2026-11-21"
    )


def test_the_certificate_says_all_it_rests_on(certified: Calibrated) -> None:
    router = Router(certified.artifact)
    found = router.guarantee
    assert found is not None
    assert (found.epsilon, found.risk, found.reference, found.date) == (0.1, "mean", "strong", "2026-11-21")
    assert found.delta == pytest.approx(0.1)
    assert found.p_value <= found.delta
    assert found.rows == 500
    assert found.observed_risk < 0.1
    assert found.data_digest == digest(pair(500, 40))
    assert router.header["guarantee"]["epsilon"] == 0.1
    assert certified.certification is not None
    assert certified.share["strong"] == pytest.approx(
        (Router(certified.artifact).route_features(pair(500, 40).features).choice == 1).mean()  # type: ignore[arg-type]
    )
    assert certified.cost == pytest.approx(certified.share["strong"])
    assert certified.share["strong"] < 0.75, "the certificate saves calls"


def test_covered_decisions_carry_the_certificate_and_others_say_why_not(certified: Calibrated) -> None:
    router = Router(certified.artifact)
    plain = router.route(TEXTS[0])
    assert plain.guarantee == router.guarantee
    assert plain.guarantee_note == ""
    other = "weak" if plain.model == "strong" else "strong"
    uncovered = {
        "pin": router.route(TEXTS[0], pin=other),
        "threshold": router.route(TEXTS[0], threshold=0.2),
        "cost_weight": router.route(TEXTS[0], cost_weight=0.2),
        "exclude": router.route(TEXTS[0], exclude=[plain.model]),
    }
    for way, decision in uncovered.items():
        assert decision.guarantee is None, way
        expected = "a constraint changed the choice" if way == "exclude" else "overridden by the caller"
        assert decision.guarantee_note == expected, way
    harmless = router.route(TEXTS[0], allowed=["weak", "strong"], min_quality=0.0)
    assert harmless.guarantee == router.guarantee


def test_batches_and_single_requests_agree_on_their_standing(certified: Calibrated) -> None:
    router = Router(certified.artifact)
    for options in ({}, {"pin": "weak"}, {"exclude": ["strong"]}, {"threshold": 0.3}):
        batch = router.route_batch(TEXTS, **options)  # type: ignore[arg-type]
        for text, decision in zip(TEXTS, batch, strict=True):
            single = router.route(text, **options)  # type: ignore[arg-type]
            assert (decision.guarantee, decision.guarantee_note) == (single.guarantee, single.guarantee_note)


def test_other_models_drop_the_certificate(certified: Calibrated) -> None:
    for models in ({"weak": "another"}, {"strong": ModelInfo(name="another")}):
        router = Router(certified.artifact, models=models)  # type: ignore[arg-type]
        assert router.guarantee is None
        note = "the certificate was earned with other models"
        assert router.uncertified == note
        decision = router.route(TEXTS[0])
        assert (decision.guarantee, decision.guarantee_note) == (None, note)
        batch = router.route_batch(TEXTS)
        assert not batch.guaranteed.any()
        assert batch[0].guarantee_note == note


def test_the_certificate_of_a_threshold_says_nothing_of_prices(certified: Calibrated) -> None:
    info = ModelInfo(input_cost_per_token=1e-5, output_cost_per_token=1e-5, context_window=9_000)
    router = Router(certified.artifact, models={"strong": info})
    assert (router.guarantee, router.uncertified) == (Router(certified.artifact).guarantee, "")
    plain = Router(certified.artifact).route_batch(TEXTS)
    assert plain.guaranteed.mean() > 0.9, "all but the share that is unlike by chance"
    np.testing.assert_array_equal(router.route_batch(TEXTS).guarantee_notes, plain.guarantee_notes)


def test_calibrating_or_dialling_anew_replaces_the_certificate(certified: Calibrated) -> None:
    again = calibrate(certified.artifact, pair(500, 40), max_quality_loss=0.2, confidence=0.8)
    found = Router(again.artifact).guarantee
    assert found is not None
    assert (found.epsilon, found.date) == (0.2, "")
    assert again.share["strong"] <= certified.share["strong"]
    assert Router(dial_share(certified.artifact, pair(500, 40), "strong", 0.5).artifact).guarantee is None


def test_the_rows_trained_on_are_refused() -> None:
    with pytest.raises(DataError, match="held out"):
        calibrate(fitted_pair().artifact, fitted_pair().outcomes, max_quality_loss=0.1)


def test_too_few_rows_say_how_many_it_takes() -> None:
    with pytest.raises(NotCertifiedError) as caught:
        calibrate(fitted_pair().artifact, pair(30, 41), max_quality_loss=0.03, confidence=0.95)
    assert "30 independent rows" in caught.value.value
    assert "independent rows would do" in caught.value.remedy
    needed = int("".join(each for each in caught.value.remedy.split("independent")[0] if each.isdigit()))
    assert needed > 30
    assert calibrate(fitted_pair().artifact, pair(4 * needed, 42), max_quality_loss=0.03, confidence=0.95)


def test_a_constant_artifact_has_nothing_to_certify() -> None:
    texts, _ = requests(5, 3)
    artifact = fit(outcomes(texts, np.tile([0.2, 0.9], (5, 1)))).artifact
    table = replace(pair(30, 43), models=("a", "b"))
    with pytest.raises(NotCertifiedError, match="always calls b"):
        calibrate(artifact, table, max_quality_loss=0.1)
    for dial in (lambda: dial_cost_cut(artifact, table, 0.5), lambda: dial_share(artifact, table, "a", 0.5)):
        with pytest.raises(OptionError):
            dial()
    assert dial_share.__doc__


@pytest.mark.parametrize(
    "options",
    [
        {"max_quality_loss": 0.0},
        {"max_quality_loss": -0.1},
        {"max_quality_loss": 1.5},
        {"max_quality_loss": float("nan")},
        {"max_quality_loss": 0.1, "confidence": 0.0},
        {"max_quality_loss": 0.1, "confidence": 1.0},
        {"max_quality_loss": 0.1, "confidence": float("nan")},
        {"max_quality_loss": 0.1, "risk": "median"},
        {"max_quality_loss": 0.1, "reference": "nobody"},
    ],
    ids=str,
)
def test_options_outside_their_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        calibrate(fitted_pair().artifact, pair(60, 44), **options)


def test_other_columns_missing_features_and_weights_are_refused() -> None:
    table = pair(60, 44)
    with pytest.raises(DataError, match="read the table with models"):
        calibrate(fitted_pair().artifact, replace(table, models=("strong", "weak")), max_quality_loss=0.1)
    with pytest.raises(DataError, match="give the prompts"):
        calibrate(fitted_pair().artifact, replace(table, features=None, prompt=None), max_quality_loss=0.1)
    with pytest.raises(DataError, match="unweighted"):
        calibrate(fitted_pair().artifact, replace(table, weight=np.linspace(1, 2, 60)), max_quality_loss=0.1)


def test_groups_are_the_units_of_a_certificate() -> None:
    table = replace(pair(500, 40), group=np.arange(500) // 2)
    found = calibrate(fitted_pair().artifact, table, max_quality_loss=0.15)
    assert found.certification is not None
    assert found.certification.n == 250


def test_harm_is_never_easier_than_the_mean() -> None:
    artifact, table = fitted_pair().artifact, pair(500, 40)
    mean = calibrate(artifact, table, max_quality_loss=0.15)
    harm = calibrate(artifact, table, max_quality_loss=0.15, risk="harm")
    assert harm.share["strong"] >= mean.share["strong"]
    guarantee = Router(harm.artifact).guarantee
    assert guarantee is not None
    assert guarantee.risk == "harm"
    assert guarantee.delta == pytest.approx(0.1), "where no confidence is given it is 90 %"


def test_a_certificate_against_another_reference_names_it() -> None:
    found = calibrate(fitted_trio().artifact, trio(500, 45), max_quality_loss=0.2, reference="dear")
    guarantee = Router(found.artifact).guarantee
    assert guarantee is not None
    assert guarantee.reference == "dear"
    assert found.cost < 1, "money is saved"
    assert Router(found.artifact).route(TEXTS[0]).guarantee == guarantee


@pytest.mark.parametrize("artifact", ["pair", "trio"])
def test_certificates_hold_as_often_as_they_promise(artifact: str) -> None:
    """One artifact, many calibration sets drawn from a large population whose risks are known."""
    fitted, population = (fitted_pair(), pair(4000, 46)) if artifact == "pair" else (fitted_trio(), trio(4000, 47))
    router = Router(fitted.artifact)
    if artifact == "trio":  # the middling model has become worse, or no policy would break the bound
        worse = population.quality * np.where(np.random.default_rng(1).random((4000, 3)) < [1, 0.85, 1], 1.0, 0.0)
        population = replace(population, quality=worse)
    assert population.features is not None
    batch = router.route_features(population.features)
    header = _core.read_header(fitted.artifact)
    costs = batch.costs if np.isfinite(batch.costs).any() else None
    decisions = np.stack([p.decide(batch.scores.astype(float), costs) for p in policies_of(header)], axis=1)
    losses = policy_losses(population.quality, decisions, header["best_constant"], risk="mean")
    truth = losses.mean(0)
    epsilon, delta, draws = 0.05, 0.2, 250
    generator = np.random.default_rng(0)
    violations = certified = 0
    for _ in range(draws):
        rows = generator.integers(0, len(losses), 250)
        found = certify(losses[rows], epsilon=epsilon, delta=delta, bounds=RISK_BOUNDS["mean"])
        if found.index is not None:
            certified += 1
            violations += bool(truth[found.index] > epsilon)
    assert truth.max() > epsilon, "some policies would break the bound"
    assert certified > draws / 2, "and some are certified"
    assert violations <= binom.ppf(0.999, draws, delta)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.77, 1.0])
def test_the_share_dial_reaches_its_target(share: float) -> None:
    table = pair(500, 48)
    result = dial_share(fitted_pair().artifact, table, "strong", share)
    assert table.features is not None
    batch = Router(result.artifact).route_features(table.features)
    assert (batch.choice == 1).mean() == pytest.approx(share, abs=0.01)
    assert result.share["strong"] == pytest.approx((batch.choice == 1).mean())
    assert result.certification is None
    blind = replace(table, models=(), quality=np.empty((500, 0)))
    assert dial_share(fitted_pair().artifact, blind, "strong", share).artifact == result.artifact, (
        "no label is read"
    )


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_two_hundred_prompts_set_a_share_to_within_its_standard_error(share: float) -> None:
    errors = []
    for seed in range(20):
        drawn, others = pair(200, 300 + seed), pair(1000, 400 + seed)
        artifact = dial_share(fitted_pair().artifact, drawn, None, share).artifact
        assert others.features is not None
        errors.append((Router(artifact).route_features(others.features).choice == 1).mean() - share)
    standard_error = (share * (1 - share) / 200) ** 0.5
    assert np.std(errors) < 1.5 * standard_error
    assert abs(np.mean(errors)) < standard_error
    assert np.abs(errors).max() < 4 * standard_error


def test_equal_requests_cannot_be_shared_out_and_the_error_says_so() -> None:
    table = outcomes(("Compute 12 apples and 40 lemons.",) * 50, np.empty((50, 0)), models=())
    assert dial_share(fitted_pair().artifact, table, "strong", 1.0).share["strong"] == 1.0
    assert dial_share(fitted_pair().artifact, table, "strong", 0.0).share["strong"] == 0.0
    with pytest.raises(OptionError, match=r"nearest are 0\.000 and 1\.000; requests of equal gain"):
        dial_share(fitted_pair().artifact, table, "strong", 0.5)


@pytest.mark.parametrize("cut", [0.1, 0.4, 0.6, 0.95])
def test_the_cost_dial_reaches_its_target(cut: float) -> None:
    table = trio(400, 49)
    result = dial_cost_cut(fitted_trio().artifact, table, cut)
    assert table.features is not None
    batch = Router(result.artifact).route_features(table.features)
    best = _core.read_header(fitted_trio().artifact)["best_constant"]
    spent = batch.costs[np.arange(400), batch.choice].mean() / batch.costs[:, best].mean()
    assert spent <= 1 - cut + 1e-9
    assert result.cost == pytest.approx(spent)
    by_calls = dial_cost_cut(fitted_pair().artifact, pair(400, 50), cut)
    assert by_calls.share["strong"] <= 1 - cut + 1e-9
    assert by_calls.share["strong"] > 1 - cut - 0.02, "no more is cut than asked"


def test_impossible_dials_are_refused() -> None:
    artifact, table = fitted_trio().artifact, trio(400, 49)
    for cut in (0.0, 1.0, -1.0, float("nan"), 0.9999999):
        with pytest.raises(OptionError) as caught:
            dial_cost_cut(artifact, table, cut)
        assert caught.value.field == "cost_cut"
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="between 0 and 1"):
            dial_share(artifact, table, "dear", share)
    with pytest.raises(OptionError, match="nobody"):
        dial_share(artifact, table, "nobody", 0.5)
    with pytest.raises(OptionError, match="no policy"):
        dial_share(artifact, table, "middling", 1.0)


def test_partly_priced_models_can_be_certified_and_dialled() -> None:
    """A model without costs stays barred where a policy weighs costs, also where the default was a constant."""
    table = trio(150, 16)
    assert table.cost is not None
    generator = np.random.default_rng(0)
    cost = table.cost.copy()
    cost[:, 1] = np.nan
    noise = (generator.random((150, 3)) < [0.3, 0.5, 0.8]).astype(float)
    for quality in (table.quality, noise):
        fitted = fit(replace(table, cost=cost, quality=quality))
        rows = replace(trio(400, 51), quality=(generator.random((400, 3)) < [0.7, 0.7, 0.72]).astype(float))
        result = calibrate(fitted.artifact, rows, max_quality_loss=0.3, reference="dear")
        assert result.share["middling"] == 0
        cut = dial_cost_cut(fitted.artifact, rows, 0.3)
        assert cut.share["middling"] == 0
        assert np.isfinite(cut.cost)


def test_a_policy_is_tested_at_a_third_of_the_error_rate_its_certificate_states(certified: Calibrated) -> None:
    """So that who checks it on as many new requests finds the bound kept as often as promised."""
    guarantee = Router(certified.artifact).guarantee
    assert guarantee is not None
    assert guarantee.delta == pytest.approx(0.1)
    assert guarantee.p_value <= 0.1 / 3
    assert certified.certification is not None
    assert certified.certification.delta == pytest.approx(0.1 / 4)
    assert certified.certification.epsilon == 0.1
    assert certified.certification.p_values[certified.certification.index or 0] == guarantee.p_value
    assert certified.certification.risks[certified.certification.index or 0] == guarantee.observed_risk


def test_a_policy_that_is_the_reference_throughout_is_no_certificate() -> None:
    """With so large a loss allowed the cheapest policy is certified, which always calls the weak model."""
    table = pair(200, 52)
    against_strong = calibrate(fitted_pair().artifact, table, max_quality_loss=0.9)
    assert against_strong.share == {"weak": 1.0, "strong": 0.0}
    with pytest.raises(NotCertifiedError, match="cannot be shown"):
        calibrate(fitted_pair().artifact, table, max_quality_loss=0.9, reference="weak")


def test_where_more_rows_would_not_help_that_is_said() -> None:
    table = pair(200, 53)
    ruined = replace(table, quality=np.where([True, False], 0.0, table.quality))
    with pytest.raises(NotCertifiedError) as caught:
        calibrate(fitted_pair().artifact, ruined, max_quality_loss=1e-3)
    assert "more rows like these would not help" in caught.value.remedy
    assert "200 independent rows" in caught.value.value


def test_models_are_renamed_and_a_certificate_does_not_survive_it(certified: Calibrated) -> None:
    renamed = Router(with_models(certified.artifact, {"weak": "small"}))
    assert renamed.models == ("small", "strong")
    assert renamed.guarantee is None
    assert with_models(certified.artifact, {}) is certified.artifact
    with pytest.raises(OptionError, match="the artifact's models are weak, strong") as caught:
        with_models(certified.artifact, {"nobody": "small"})
    assert (caught.value.field, caught.value.value) == ("map", "nobody")


EXPECTED = Expected(
    {},
    ("a", "b"),
    np.array([[0.9, 0.5], [0.2, 0.8], [0.1, 0.8], [0.3, 0.9]]),
    np.array([[1.0, 4.0], [1.0, 6.0], [np.nan, 2.0], [3.0, 8.0]]),
)


def test_what_a_policy_costs_by_hand() -> None:
    """The threshold calls b for the last three rows: 1 + 6 + 2 + 8 of 4 + 6 + 2 + 8 USD."""
    routed, always_a = (
        Policy("threshold", 1, 0.0, "calls", (True,) * 2),
        Policy("constant", 0, 0.0, "calls", (True,) * 2),
    )
    assert EXPECTED.relative_cost(routed, 1) == pytest.approx(17 / 20)
    assert EXPECTED.relative_cost(always_a, 1) == pytest.approx((5 / 3) / 5), "over the rows where it is known"
    assert EXPECTED.relative_cost(routed, 0) == 0.25, "where the reference has no price, calls to it are counted"
    assert replace(EXPECTED, cost=None).relative_cost(routed, 1) == 0.75
    free = replace(EXPECTED, cost=np.zeros((4, 2)))
    assert free.relative_cost(routed, 1) == 0
    assert EXPECTED.share(routed) == {"a": 0.25, "b": 0.75}
    assert EXPECTED.index("b", "share") == 1
    with pytest.raises(OptionError, match="the models are a, b") as caught:
        EXPECTED.index("c", "share")
    assert caught.value.field == "share"


def test_the_cost_dial_cuts_no_more_than_asked() -> None:
    table = trio(300, 54)
    for cut in (0.1, 0.5, 0.8):
        found = dial_cost_cut(fitted_trio().artifact, table, cut)
        assert found.cost <= 1 - cut + 1e-9
        assert dial_cost_cut(fitted_trio().artifact, table, 1 - found.cost).policy == found.policy
        cheaper = dial_cost_cut(fitted_trio().artifact, table, 1 - found.cost + 1e-6)
        assert cheaper.cost < found.cost
        assert cheaper.policy.level > found.policy.level, "the safest that is cheap enough comes first"
    with pytest.raises(OptionError, match="can be cut on these rows") as caught:
        dial_cost_cut(fitted_trio().artifact, table, 0.99999)
    most = float(caught.value.remedy.split()[2])
    assert most > 0.9
    assert dial_cost_cut(fitted_trio().artifact, table, most - 1e-3).cost == pytest.approx(1 - most, abs=2e-3)


def test_the_dials_speak_of_the_rows_they_are_given() -> None:
    table = pair(101, 55)
    for share in (0.25, 0.5):
        found = dial_share(fitted_pair().artifact, table, "strong", share)
        assert found.share["strong"] == pytest.approx(share, abs=0.0051), "half a row off at most"
        assert found.cost == found.share["strong"]
        other = dial_share(fitted_pair().artifact, table, "weak", 1 - share)
        assert other.share == found.share
    money = dial_share(fitted_trio().artifact, trio(200, 56), "cheap", 0.6)
    assert money.share["cheap"] == pytest.approx(0.6, abs=0.02)
    assert sum(money.share.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "dial", [lambda a, t: dial_share(a, t, "strong", 0.5), lambda a, t: dial_cost_cut(a, t, 0.5)]
)
def test_dials_ask_for_features(dial: Any) -> None:
    with pytest.raises(DataError, match="give the prompts"):
        dial(fitted_pair().artifact, replace(pair(30, 57), features=None, prompt=None))


def test_a_share_of_one_of_three_models_needs_to_know_what_they_cost() -> None:
    table = replace(trio(150, 58), cost=None)
    artifact = fit_with(table, families=((Linear(),),)).artifact
    fresh = replace(trio(150, 59), cost=None)
    with pytest.raises(OptionError, match="train with prices"):
        dial_share(artifact, fresh, "dear", 0.0)


def copies(table: Any, rows: np.ndarray) -> Any:
    """Rows of a table, numbered anew; every one a group of its own, as a table without a group column says."""
    found = table.rows(rows)
    return replace(found, sample_id=tuple(map(str, range(len(rows)))), group=np.arange(len(rows)))


def test_rows_pasted_ten_times_are_as_many_as_they_were() -> None:
    table = pair(25, 60)
    for rows in (np.arange(25), np.tile(np.arange(25), 10)):
        with pytest.raises(NotCertifiedError) as caught:
            calibrate(fitted_pair().artifact, copies(table, rows), max_quality_loss=0.1)
        assert "25 independent rows" in caught.value.value


def test_few_rows_trained_on_are_left_out_and_more_refused() -> None:
    trained, fresh = fitted_pair().outcomes, pair(490, 61)

    def mixed(seen: int) -> Any:
        assert trained.features is not None and fresh.features is not None
        some = trained.rows(np.arange(seen))
        return replace(
            fresh,
            sample_id=tuple(map(str, range(seen + 490))),
            task=fresh.task + some.task,
            quality=np.concatenate((fresh.quality, some.quality)),
            weight=np.ones(seen + 490),
            group=np.arange(seen + 490),
            prompt=None,
            features=joined_features([fresh.features, some.features], ["fresh", "seen"]),  # type: ignore[list-item]
        )

    few = calibrate(fitted_pair().artifact, mixed(6), max_quality_loss=0.15)
    assert 6 <= few.dropped <= 12
    assert few.certification is not None and few.certification.rows == 496 - few.dropped
    with pytest.raises(DataError, match="trained on"):
        calibrate(fitted_pair().artifact, mixed(60), max_quality_loss=0.15)


def test_a_certificate_of_routed_requests() -> None:
    found = calibrate(fitted_pair().artifact, pair(900, 62), max_quality_loss=0.2, risk="routed")
    guarantee = Router(found.artifact).guarantee
    assert guarantee is not None
    assert (guarantee.risk, guarantee.budget) == ("routed", None)
    assert guarantee.observed_risk < 0.2
    assert "not sent to it" in guarantee.words()
    assert found.certification is not None and found.certification.index is not None
    counted = found.certification.counted[found.certification.index]
    assert counted == pytest.approx(found.share["weak"] * found.certification.n, rel=0.02)
    assert Router(found.artifact).route(TEXTS[0]).guarantee == guarantee


def test_a_budget_is_certified_and_the_safest_policy_within_it_taken() -> None:
    table = trio(600, 63)
    assert table.cost is not None
    budgets = np.quantile(table.cost.max(axis=1), (0.3, 0.9))
    tight, wide = (calibrate(fitted_trio().artifact, table, budget=float(each)) for each in budgets)
    for found, budget in ((tight, budgets[0]), (wide, budgets[1])):
        guarantee = Router(found.artifact).guarantee
        assert guarantee is not None
        assert (guarantee.risk, guarantee.epsilon, guarantee.batch) == ("cost", 0.05, 1)
        assert guarantee.budget == pytest.approx(float(budget))
        assert guarantee.observed_risk <= 0.05
        assert "cost more than" in guarantee.words()
    assert wide.cost > tight.cost, "more may be spent, and is"
    batches = calibrate(
        fitted_trio().artifact, table, budget=float(budgets[1]), batch=3, max_exceeded=0.2, confidence=0.8
    )
    stated = Router(batches.artifact).guarantee
    assert stated is not None and stated.batch == 3


def test_budgets_that_cannot_be_asked_for_are_refused() -> None:
    artifact, table = fitted_trio().artifact, trio(120, 64)
    for options in ({"budget": 0.0}, {"budget": 1.0, "max_exceeded": 0.0}, {"budget": 1.0, "batch": 0}, {}):
        with pytest.raises(OptionError):
            calibrate(artifact, table, **options)
    with pytest.raises(OptionError, match="give one of them"):
        calibrate(artifact, table, budget=1.0, max_quality_loss=0.1)
    with pytest.raises(OptionError, match="independent rows"):
        calibrate(artifact, table, budget=1.0, batch=1000)
    with pytest.raises(DataError, match="no costs"):
        calibrate(fitted_pair().artifact, pair(120, 65), budget=1.0)
    with pytest.raises(NotCertifiedError, match="cannot be shown"):
        calibrate(artifact, table, budget=1e-12)


def test_an_evaluation_on_rows_trained_on_says_so_and_has_no_other_verdict() -> None:
    trained = evaluate(fitted_pair().artifact, fitted_pair().outcomes)
    assert trained.trained_on > 0.95
    assert trained.verdict.choice == "not enough data"
    assert "were trained on: every figure is optimistic" in trained.verdict.headline
    assert to_dict(trained)["trained_on"] == trained.trained_on
    fresh = evaluate(fitted_pair().artifact, pair(200, 66))
    assert fresh.trained_on == 0
    assert "trained on" not in fresh.verdict.headline


def test_an_evaluation_counts_copies_once() -> None:
    table = pair(120, 67)
    once = evaluate(fitted_pair().artifact, table)
    pasted = evaluate(fitted_pair().artifact, copies(table, np.tile(np.arange(120), 3)))
    assert (once.units, pasted.units, pasted.rows) == (once.units, once.units, 3 * once.rows)
    assert pasted.gap_reference.high - pasted.gap_reference.low == pytest.approx(
        once.gap_reference.high - once.gap_reference.low, rel=0.25
    )


def test_the_cheapest_is_not_dearer_than_what_was_certified() -> None:
    artifact, table = fitted_pair().artifact, pair(500, 40)
    header = _core.read_header(artifact)
    always = {"kind": "constant", "model": header["best_constant"]}
    dear = _core.with_header(artifact, {**header, "policies": {**header["policies"], "cheapest": always}})
    found = calibrate(dear, table, max_quality_loss=0.15)
    router = Router(found.artifact)
    assert found.share["strong"] < 1.0
    for prompt in table.prompt[:50]:
        assert router.route(prompt, policy="cheapest").model == router.route(prompt).model


@pytest.mark.parametrize("loss", [-0.1, 0.0, 1.0, float("nan")])
def test_a_loss_out_of_range_is_named_as_it_is_asked(loss):
    with pytest.raises(OptionError, match="max_quality_loss"):
        calibrate(fitted_pair().artifact, pair(60, 44), max_quality_loss=loss)
