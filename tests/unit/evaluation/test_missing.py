"""Missing outcomes with known truth: models are compared on comparable rows; nothing is believed of nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.synthetic import outcomes, requests

from tiny_dancer import Router, fit
from tiny_dancer.evaluation.baselines import column_means
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.routing import featurise
from tiny_dancer.training.data.check import check_outcomes
from tiny_dancer.training.judge import judge

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer import Outcomes

    Floats = npt.NDArray[np.float64]

How = Literal["never on hard ones", "rarely on hard ones", "at random", "all at random", "rarely at all"]


def world(how: How, n: int, seed: int) -> tuple[Outcomes, Floats, npt.NDArray[np.bool_]]:
    """cheap .71 on easy and .30 on hard requests, big .95 and .80, third .8 and .5; some of it unobserved."""
    generator = np.random.default_rng(seed + 1000)  # requests draws from the seed itself
    texts, hard = requests(n, seed)
    chance = np.stack([np.where(hard, 0.30, 0.71), np.where(hard, 0.80, 0.95), np.where(hard, 0.5, 0.8)], axis=1)
    truth = (generator.random((n, 3)) < chance).astype(np.float64)
    quality = truth.copy()
    draw = generator.random(n)
    if how == "never on hard ones":
        quality[hard, 0] = np.nan
    elif how == "rarely on hard ones":
        quality[draw < np.where(hard, 0.85, 0.1), 0] = np.nan
    elif how == "at random":
        quality[draw < 0.4, 0] = np.nan
    elif how == "rarely at all":
        quality[draw < 0.9, 0] = np.nan
    else:
        quality[generator.random((n, 3)) < 0.4] = np.nan
    return outcomes(texts, quality, models=("cheap", "big", "third")), truth, hard


@pytest.mark.parametrize("how", ["rarely on hard ones", "at random", "all at random", "rarely at all"])
def test_means_are_near_the_truth_however_outcomes_are_missing(how: How) -> None:
    errors, apparent = [], []
    for seed in range(12):
        table, truth, _ = world(how, 300, seed)
        found = observed(table)
        errors.append(found.means(table.weight) - truth.mean(0))
        apparent.append(column_means(table.quality, table.weight) - truth.mean(0))
        assert not found.unsupported.any()
        assert found.pseudo.mean(0) == pytest.approx(found.means(table.weight), abs=0.02)
    bias, standard = np.mean(errors, axis=0), np.std(errors, axis=0) / np.sqrt(12)
    assert (np.abs(bias) < 0.015 + 3 * standard).all(), bias
    if how == "rarely on hard ones":
        assert np.mean(apparent, axis=0)[0] > 0.1, "what column means make of it"
        assert abs(bias[0]) < 0.05


def test_a_kind_never_scored_is_found_and_random_gaps_are_not_one() -> None:
    for seed in range(8):
        table, _, hard = world("never on hard ones", 200, seed)
        found = observed(table)
        assert (found.unsupported[:, 0] == hard).all()
        assert not found.unsupported[:, 1:].any()
        assert (found.completed[hard, 0] == 0).all()
        assert (found.cautious[hard, 0] == 0).all()
        random, _, _ = world("at random", 200, seed)
        assert not observed(random).unsupported.any()


def test_a_kind_told_by_its_task_alone_is_found() -> None:
    table, _, hard = world("never on hard ones", 200, 3)
    told = tuple("hard" if each else "easy" for each in hard)
    found = observed(replace(table, task=told, features=None))
    assert (found.unsupported[:, 0] == hard).all()


def test_two_models_without_a_common_row_are_compared_through_others() -> None:
    generator = np.random.default_rng(0)
    easy = generator.random(400) < 0.5
    level = np.where(easy, 0.9, 0.4)[:, None] + np.array([-0.1, 0.0, 0.1])
    quality = (generator.random((400, 3)) < level).astype(np.float64)
    truth = quality.mean(0)
    # The worst was scored on easy rows only, the best on hard ones only; some support is left on either side.
    keep = generator.random(400) < 0.06
    quality[~easy & ~keep, 0] = np.nan
    quality[easy & ~keep, 2] = np.nan
    table = outcomes(("x",) * 400, quality, features=None)
    means = observed(table).means(table.weight)
    assert column_means(quality, np.ones(400)).argmax() == 0
    assert means.argmax() == 2
    assert means == pytest.approx(truth, abs=0.08)


def test_what_is_complete_stays_as_it_is() -> None:
    table, truth, _ = world("at random", 60, 1)
    full = replace(table, quality=truth)
    found = observed(full)
    for each in (found.completed, found.cautious, found.pseudo):
        assert (each == truth).all()
    assert not found.unsupported.any()
    assert found.warnings(full.models, full.weight) == []
    assert found.rests_on_missing(1, full.weight).size == 0


@given(
    cells=st.lists(st.sampled_from([0.0, 1.0, 0.5, None]), min_size=3 * 40, max_size=3 * 40),
    seed=st.integers(0, 9),
)
@settings(max_examples=25)
def test_any_pattern_of_gaps_is_completed_within_bounds(cells: list[float | None], seed: int) -> None:
    quality = np.array([np.nan if cell is None else cell for cell in cells]).reshape(40, 3)
    weight = np.random.default_rng(seed).uniform(0.1, 5, 40)
    found = observed(outcomes(("x",) * 40, quality, features=None, weight=weight))
    seen = np.isfinite(quality)
    assert (found.completed[seen] == quality[seen]).all()
    assert ((found.completed >= 0) & (found.completed <= 1)).all()
    assert np.isfinite(found.pseudo).all()
    assert (found.completed.max(1) >= found.completed[:, 0]).all()


def test_the_router_serves_nothing_where_a_model_was_never_scored() -> None:
    table, truth, _ = world("never on hard ones", 200, 3)
    cost = np.tile([0.001, 0.02, 0.01], (200, 1))
    fitted = fit(replace(table, cost=cost))
    assert fitted.outcomes.models[fitted.policy.best_constant] == "big"
    texts, hard = requests(200, 99)
    choice = Router(fitted.artifact).route_features(featurise(texts)).choice
    assert (choice[hard] == 0).sum() == 0
    said = [each for each in fitted.warnings if each.startswith("cheap was never scored on ")]
    assert len(said) == 1
    assert "others find harder" in said[0]
    report = judge(fitted)
    means = {each.name: each.quality.estimate for each in report.policies}
    assert means["oracle"] >= max(value for name, value in means.items() if name.startswith("always"))
    assert means["always big"] == pytest.approx(truth[:, 1].mean())
    assert report.best == "big"
    assert any(note.startswith("Cheap was never scored") for note in report.notes)


def test_a_check_of_the_table_says_it_loudly() -> None:
    generator = np.random.default_rng(0)
    texts, hard = requests(200, 3)
    truth = np.stack([generator.random(200) < np.where(hard, 0.3, 0.9), generator.random(200) < 0.8], axis=1)
    quality = truth.astype(np.float64)
    quality[hard, 0] = np.nan
    report = check_outcomes(outcomes(texts, quality, models=("cheap", "big")))
    kinds = {finding.kind: finding for finding in report.findings}
    assert kinds["never_scored_kind"].severity == "warning"
    assert kinds["never_scored_kind"].field == "cheap"
    assert kinds["unlike_rows"].severity == "warning"
    assert "big is better on comparable rows" in kinds["unlike_rows"].message
    assert kinds["rests_on_missing"].severity == "note"
