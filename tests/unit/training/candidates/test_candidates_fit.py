from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from tiny_dancer import Candidate, CandidateRouter, CandidateRouterConfig, _core
from tiny_dancer.errors import OptionError, TrainingError
from tiny_dancer.training.candidates import export, fit
from tiny_dancer.training.candidates.calibration import MOST_KNOTS, probability_map
from tiny_dancer.training.candidates.data import read_memories, read_questions
from tiny_dancer.training.candidates.fit import UNTRAINED_WEIGHTS, fit_candidates
from tiny_dancer.training.candidates.judge import evaluate_candidates, predict_candidates
from tiny_dancer.training.candidates.linear import LinearScorer, Standardised, fit_linear, listwise_losses, shared
from tiny_dancer.training.candidates.lists import make_lists

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.training.candidates.data import Memories, Questions
    from tiny_dancer.training.candidates.fit import FittedCandidates

Read = tuple["Memories", "Questions"]


@pytest.fixture(scope="session")
def fitted(read: Read) -> FittedCandidates:
    return fit_candidates(*read)


def test_questions_held_out_are_ranked_better_than_by_any_baseline(fitted: FittedCandidates) -> None:
    found = fitted.evaluation
    assert found.metrics["linear"]["recall@5"].estimate > 0.9
    assert found.differences["cosine"]["mrr"].above_zero
    assert fitted.questions == 72


def test_the_engine_scores_as_it_was_trained(read: Read, fitted: FittedCandidates) -> None:
    memories, questions = read
    lists = make_lists(_core.CandidateScorer(fitted.artifact), memories.sets(), questions.answerable)
    mean, scale, weight = (
        export.float_tensor(fitted.artifact, name) for name in ("feature.mean", "feature.scale", "linear.weight")
    )
    np.testing.assert_allclose(
        lists.scores, LinearScorer(mean, scale, weight)(lists.features), atol=2e-3, rtol=1e-4
    )


def test_equal_input_gives_equal_bytes(read: Read, fitted: FittedCandidates) -> None:
    assert fit_candidates(*read).artifact == fitted.artifact
    memories, questions = read
    other = replace(questions, questions=questions.questions[1:])
    assert fit_candidates(memories, other).artifact != fitted.artifact


def test_the_header_says_what_was_done(fitted: FittedCandidates) -> None:
    header = _core.read_header(fitted.artifact)
    assert header["kind"] == "candidates"
    assert header["scorer"] == "linear"
    assert header["prediction"]["alpha"] == 0.1
    assert header["prediction"]["rows"] == header["likeness"]["rows"] == 72
    assert header["prediction"]["margin"] > 0 and header["likeness"]["alpha"] == 0.05
    assert "combination without training" in header["training"]["verdict"] == fitted.verdict
    assert set(header["metrics"]) == {"linear", "cosine", "words", "cosine + words", "default combination"}
    mean, low, high = header["metrics"]["linear"]["mrr"]
    assert low <= mean <= high
    assert header["training"]["conversations"] == 3
    assert len(header["training"]["digest"]) == 64
    assert len(header["self_check"]) == len(export.SELF_CHECK)


def test_few_questions_leave_the_combination_without_training(read: Read) -> None:
    """The weights it is drawn to are those of the engine: relevance is their sum where nothing is known of use."""
    memories, questions = read
    bare = replace(questions, questions=tuple(replace(each, now=None) for each in questions.questions))
    lists = make_lists(_core.CandidateScorer(), memories.sets(), bare.answerable)
    weight = np.array([UNTRAINED_WEIGHTS.get(name, 0.0) for name in _core.CANDIDATE_FEATURES])
    weight[[_core.CANDIDATE_FEATURES.index(name) for name in ("time_named", "confidence")]] = 0.0
    features = lists.features.astype(np.float64)
    cosine = _core.CANDIDATE_FEATURES.index("cosine_context")
    features[:, cosine] = np.maximum(features[:, cosine], 0)
    relevance = np.maximum(features @ weight, 0)
    # Close to 1 it is drawn together, in order.
    high = relevance > 0.95
    relevance[high] = 1 - 0.0025 / (relevance[high] - 0.9)
    np.testing.assert_allclose(relevance, lists.scores, atol=1e-5)


def test_prediction_sets_hold_what_they_promise_and_are_small_where_the_first_stands_out(
    read: Read, fitted: FittedCandidates
) -> None:
    memories, questions = read
    scorer, sets = _core.CandidateScorer(fitted.artifact), memories.sets()
    sizes, covered = [], []
    for question in questions.answerable:
        known = sets[question.conversation]
        found, _, size, alike = scorer.rank(
            known.native, question.embedding, question.text, None, question.now, known.encoder, len(known)
        )
        if alike:
            assert size is not None and all(each.in_prediction_set for each in found[:size])
            sizes.append(size)
            covered.append(any(each.candidate_id in question.evidence for each in found[:size]))
    assert len(sizes) >= 0.9 * len(questions.answerable)
    # The first stands out in all of them, so it is kept alone: a set of ranks could not tell.
    assert np.mean(covered) >= 0.9 and np.mean(sizes) < 2


def test_of_unlike_candidates_it_says_nothing_calibrated(fitted: FittedCandidates, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(fitted.artifact)
    router = CandidateRouter(CandidateRouterConfig(model_path=tmp_path / "s"))
    tools = [Candidate(str(place), text=f"Converts {place} files, quickly and for free.") for place in range(30)]
    answer = router.route("convert file 7", tools)
    untrained = CandidateRouter().route("convert file 7", tools)
    assert not answer.calibrated and "unlike" in answer.uncalibrated and answer.prediction_set_size is None
    assert [each.score for each in answer] == [each.score for each in untrained]
    assert not any(each.use_lightweight or each.in_prediction_set for each in answer)
    assert "without training" in untrained.uncalibrated


def test_features_that_never_vary_get_no_weight(fitted: FittedCandidates) -> None:
    weight = export.float_tensor(fitted.artifact, "linear.weight")
    assert weight[_core.CANDIDATE_FEATURES.index("success")] == 0
    assert weight[_core.CANDIDATE_FEATURES.index("words_context")] != 0


def test_one_conversation_is_split_by_questions(read: Read) -> None:
    memories, questions = read
    kept = tuple(each for each in questions.questions if each.conversation == "a")
    found = fit_candidates(memories, replace(questions, questions=kept))
    assert found.questions == 24
    assert _core.read_header(found.artifact)["training"]["conversations"] == 1


def test_a_fastgrnn_serves_as_it_was_judged(read: Read) -> None:
    memories, questions = read
    kept = tuple(each for each in questions.questions if each.conversation in "ab")
    asked = replace(questions, questions=kept)
    found = fit_candidates(memories, asked, scorer="fastgrnn")
    assert _core.read_header(found.artifact)["scorer"] == found.scorer == "fastgrnn"
    assert found.evaluation.metrics["fastgrnn"]["recall@5"].estimate > 0.8
    others = replace(questions, questions=tuple(each for each in questions.questions if each.conversation == "c"))
    served = evaluate_candidates(memories, others, found.artifact)
    assert served.metrics["fastgrnn 1.0.0"]["recall@5"].estimate > 0.8


def test_auto_takes_the_fastgrnn_only_where_held_out_questions_say_so(read: Read) -> None:
    memories, questions = read
    lists = make_lists(_core.CandidateScorer(), memories.sets(), questions.answerable)
    noise, right = np.random.default_rng(0).random(len(lists.features)), lists.relevant.astype(float)

    def chosen(cell: np.ndarray, linear: np.ndarray) -> tuple[str, str]:
        trained = {"linear": fit._Trained({}, linear, {}), "fastgrnn": fit._Trained({}, cell, {})}
        return fit._choice(trained, lists, "auto")

    name, because = chosen(right, noise)
    assert name == "fastgrnn"
    assert "fastgrnn ranks better than linear (MRR +" in because
    assert chosen(noise, right)[0] == "linear"
    assert chosen(right, right)[0] == "linear"  # of equal ones the simpler


def test_too_little_is_refused(read: Read) -> None:
    memories, questions = read
    with pytest.raises(TrainingError, match="give at least 10"):
        fit_candidates(memories, replace(questions, questions=questions.questions[:9]))
    with pytest.raises(OptionError, match="scorer"):
        fit_candidates(memories, questions, scorer="trees")  # type: ignore[arg-type]


def test_predicting_needs_no_evidence_and_keeps_the_order(
    read: Read, fitted: FittedCandidates, tables: tuple[Path, Path]
) -> None:
    memories = read_memories(tables[0])
    blind = read_questions(tables[1], memories, require_evidence=False)
    found = predict_candidates(fitted.artifact, memories, blind, k=3)
    assert len(found) == len(blind)
    backwards = predict_candidates(fitted.artifact, memories, replace(blind, questions=blind.questions[::-1]), k=3)
    assert backwards[::-1] == found
    hits = [each.evidence[0] in ranking.memory_ids for each, ranking in zip(read[1].questions, found, strict=True)]
    assert np.mean(hits) > 0.9
    for ranking in found:
        assert len(ranking.memory_ids) == 3
        assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    everything = predict_candidates(fitted.artifact, memories, blind, k=10_000)[0]
    assert len(everything.memory_ids) == len(memories.conversations["a"])


def test_rankings_and_figures_agree(read: Read, fitted: FittedCandidates) -> None:
    memories, questions = read
    found = evaluate_candidates(memories, questions, fitted.artifact)
    ranked = predict_candidates(fitted.artifact, memories, questions, k=5)
    recall = [
        len(set(each.evidence) & set(ranking.memory_ids)) / len(each.evidence)
        for each, ranking in zip(questions.questions, ranked, strict=True)
    ]
    assert found.metrics["linear 1.0.0"]["recall@5"].estimate == pytest.approx(np.mean(recall))


def test_questions_trained_on_are_told(read: Read, fitted: FittedCandidates) -> None:
    memories, questions = read
    found = evaluate_candidates(memories, questions, fitted.artifact)
    assert found.trained_on == pytest.approx(1.0)
    assert evaluate_candidates(memories, questions).trained_on == 0
    others = replace(
        questions, questions=tuple(replace(each, text=f"Tell me: {each.text}") for each in questions.questions)
    )
    assert evaluate_candidates(memories, others, fitted.artifact).trained_on < 0.05


@pytest.mark.parametrize("penalty", [0.3, 0.01])
def test_newton_finds_where_the_gradient_vanishes(penalty: float) -> None:
    random = np.random.default_rng(0)
    offsets = np.array([0, 5, 12, 30], np.int64)
    features = random.normal(size=(30, 19))
    target = shared(random.random(30) < 0.3, offsets) * np.repeat([1.0, 3.0, 0.5], np.diff(offsets))
    rows = Standardised.of(features)
    anchor = random.normal(size=19)
    found = fit_linear(rows, target, offsets, l2=penalty, anchor=anchor)

    def loss(weight: np.ndarray) -> float:
        away = weight - anchor
        return float(
            listwise_losses(rows.values @ weight, target, offsets).sum() / target.sum() + penalty * away @ away
        )

    assert np.abs(approx_fprime(found.weight, loss, 1e-6)).max() < 1e-4
    again = fit_linear(rows, target, offsets, l2=penalty, anchor=anchor, start=random.normal(size=19))
    np.testing.assert_allclose(again.weight, found.weight, atol=1e-4)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 400), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_probability_maps_rise_and_stay_within_bounds(seed: int, rows: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=rows).round(1 if ties else 9)
    relevant = (random.random(rows) < 1 / (1 + np.exp(-scores))).astype(float)
    found = probability_map(scores, relevant, np.ones(rows))
    knots, values = found["calibration.scores"], found["calibration.probabilities"]
    assert 1 <= len(knots) == len(values) <= MOST_KNOTS
    assert (np.diff(knots) > 0).all()
    assert (np.diff(values) >= 0).all()
    assert ((values > 0) & (values < 1)).all()


def test_probability_maps_recover_probabilities() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=40_000)
    truth = 1 / (1 + np.exp(-2 * scores))
    found = probability_map(scores, (random.random(40_000) < truth).astype(float), np.ones(40_000))
    grid = np.linspace(-2, 2, 21)
    values = np.interp(grid, found["calibration.scores"], found["calibration.probabilities"])
    assert np.abs(values - 1 / (1 + np.exp(-2 * grid))).max() < 0.05


def test_locomo_recall(shared_data: Path) -> None:
    """Trained on two conversations, judged on the two others: the issue asks for .55."""
    path = shared_data / "locomo_memories.parquet"
    if not path.exists():
        pytest.skip(f"needs {path}")
    memories = read_memories(path)
    with pytest.warns(match="lacks"):
        questions = read_questions(shared_data / "locomo_questions.parquet", memories)
    half = tuple(memories.conversations)[:2]

    def about(inside: bool) -> Questions:
        kept = tuple(each for each in questions.questions if (each.conversation in half) == inside)
        return replace(questions, questions=kept)

    found = evaluate_candidates(memories, about(False), fit_candidates(memories, about(True)).artifact)
    assert found.metrics["linear 1.0.0"]["recall@5"].estimate >= 0.70
