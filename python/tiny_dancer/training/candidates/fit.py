"""Questions whose evidence is known → a scorer's artifact."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError, TrainingError
from tiny_dancer.evaluation.candidates import RankingEvaluation, evaluate_rankings
from tiny_dancer.evaluation.overlap import remember_inputs
from tiny_dancer.extras import require
from tiny_dancer.training.candidates import export
from tiny_dancer.training.candidates.calibration import calibrate
from tiny_dancer.training.candidates.likeness import likeness_of
from tiny_dancer.training.candidates.linear import (
    LinearScorer,
    Standardised,
    anchored_path,
    listwise_losses,
    shared,
)
from tiny_dancer.training.candidates.lists import Lists, make_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.routing.candidate_set import CandidateSet
    from tiny_dancer.training.candidates.data import Memories, Question, Questions

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

Scorer = Literal["linear", "fastgrnn", "auto"]
SCORERS: tuple[Scorer, ...] = ("linear", "fastgrnn", "auto")
FEWEST_QUESTIONS = 10
PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 3e-2, 1e-2)
"""Of squared distances from the combination without training, from strong to weak."""
UNTRAINED_WEIGHTS = {
    "cosine_context": 0.30,
    "words_context": 0.25,
    "grams_context": 0.25,
    "pairs_context": 0.20,
    "tag_named": 0.25 / 4,
    "time_asked": 0.25 / 4,
    "answers_question": 0.15 / 4,
    "question": -0.15 / 4,
    # What multiplies relevance there adds about as much to that of a candidate that half fits.
    "time_named": 0.1,
    "recency": 0.015,
    "frequency": 0.0075,
    "success": 0.0075,
    "confidence": 0.0075,
    "metadata": 0.0075,
}
"""The combination without training as a weighted sum of features."""
STAYS_HOME = ("group_best",)
"""Features that are not learned from. That something else in a session fits the question helps where sessions have
one subject (+.01 of recall@5 on LoCoMo) and harms where they have many (-.05 on chats with small talk)."""
UNTRAINED = "default combination"
_MOST_FOLDS = 10
_FOLDS_OF_QUESTIONS = 5
_MOST_OF_ONE = 0.7
"""Share of the questions a conversation may have: without it, too little would be left to learn from."""


@dataclass(frozen=True, slots=True)
class FittedCandidates:
    """A trained scorer.

    Attributes:
        artifact: the file's bytes.
        scorer: ``linear`` or ``fastgrnn``.
        chosen_because: in words.
        verdict: in words, whether it ranks better than the combination without training on questions held out.
        evaluation: the scorer and the baselines on questions it was not trained on (out of fold).
        questions: learned from.
        left_out: questions without known evidence.
    """

    artifact: bytes
    scorer: str
    chosen_because: str
    verdict: str
    evaluation: RankingEvaluation
    questions: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Task:
    lists: Lists
    fold: Ints
    sets: Mapping[str, CandidateSet]
    questions: Sequence[Question]
    seed: int


@dataclass(frozen=True, slots=True)
class _Trained:
    """Tensors of the scorer of all questions; scores [n] by scorers that did not see the question."""

    tensors: Mapping[str, npt.NDArray[Any]]
    held_out: Floats
    notes: Mapping[str, Any]


def fit_candidates(
    memories: Memories,
    questions: Questions,
    *,
    scorer: Scorer = "linear",
    seed: int = 0,
    created: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> FittedCandidates:
    """Trains a scorer of candidates; equal input gives equal bytes.

    The default is a weight a feature, fitted to whole lists: over the six ways to train on two of four LoCoMo
    conversations and test on the others its recall@5 is .751; a FastGRNN step over the same features has .736, and
    pairwise, pointwise and boosted scorers had less, too. Training both takes minutes rather than seconds, so
    ``auto`` is not the default: it trains both and takes the FastGRNN only where questions held out from training
    say it is better.

    What is chosen, calibrated and reported rests on questions of conversations that were not trained on; with one
    conversation, on a fifth of its questions in turn.

    Args:
        memories: what can be found.
        questions: with evidence; those without are left out.
        scorer: ``linear``, or ``fastgrnn`` or ``auto``, which need jax (extra ``fastgrnn``).
        seed: of folds, and of a FastGRNN's start and order.
        created: date to record.
        progress: called after each step of :func:`steps`.

    Raises:
        OptionError: no such scorer.
        MissingExtraError: jax is needed and not installed.
        TrainingError: fewer than ten questions with evidence, or none that tells candidates apart.
        DataError: a memory that no set takes.
    """
    if scorer not in SCORERS:
        raise OptionError("scorer", scorer, f"choose {', '.join(SCORERS)}")
    if scorer != "linear":
        require("jax", "optax", instead="train the scorer linear, which needs neither")
    answerable = questions.answerable
    if len(answerable) < FEWEST_QUESTIONS:
        found = f"{len(answerable)} questions with known evidence"
        raise TrainingError("evidence", found, f"give at least {FEWEST_QUESTIONS}")
    sets = memories.sets()
    lists = make_lists(_core.CandidateScorer(), sets, answerable)
    if lists.relevant.all():
        raise TrainingError(
            "evidence", "every memory of every conversation", "give memories that answer nothing, too"
        )
    progress("features")
    task = _Task(lists, _folds(lists, seed), sets, answerable, seed)
    trained: dict[str, _Trained] = {}
    if scorer in ("linear", "auto"):
        trained["linear"] = _linear(task)
        progress("linear")
    if scorer in ("fastgrnn", "auto"):
        trained["fastgrnn"] = _fastgrnn(task, progress)
    chosen, because = _choice(trained, lists, scorer)
    best = trained[chosen]
    evaluation = evaluate_rankings(
        {
            chosen: lists.ranks(best.held_out),
            **lists.baselines(),
            UNTRAINED: lists.ranks(lists.scores),
        }
    )
    rest = {
        "metrics": export.metrics_header(evaluation),
        "training": {
            "digest": hashlib.sha256(f"{memories.digest} {questions.digest}".encode()).hexdigest(),
            "conversations": len(np.unique(lists.conversation)),
            "memories": len(memories),
            "questions": len(answerable),
            "left_out": len(questions) - len(answerable),
            "seed": seed,
            "rows_seen": remember_inputs([question.text for question in answerable]),
            "chosen_because": because,
            "verdict": _verdict(evaluation),
            **best.notes,
        },
    }
    calibration = calibrate(lists, best.held_out).with_(likeness_of(lists, task.fold))
    artifact = export.build(chosen, best.tensors, calibration, rest, created=created)
    return FittedCandidates(
        artifact,
        chosen,
        because,
        _verdict(evaluation),
        evaluation,
        len(answerable),
        len(questions) - len(answerable),
    )


def steps(memories: Memories, scorer: str) -> int:
    """How often :func:`fit_candidates` calls ``progress``, at most."""
    conversations = len(memories.conversations)
    folds = min(conversations, _MOST_FOLDS) if conversations > 1 else _FOLDS_OF_QUESTIONS
    return 1 + (scorer != "fastgrnn") + (scorer != "linear") * (folds + 1)


def _folds(lists: Lists, seed: int) -> Ints:
    """Fold of each question: conversations, or questions where one conversation has most of them."""
    names, conversation = np.unique(lists.conversation, return_inverse=True)
    random = np.random.default_rng(seed)
    if np.bincount(conversation).max() <= _MOST_OF_ONE * len(lists):
        fold_of = random.permutation(len(names)) % _MOST_FOLDS
        return fold_of[conversation].astype(np.int64)
    return (random.permutation(len(lists)) % _FOLDS_OF_QUESTIONS).astype(np.int64)


def linear_path(lists: Lists) -> list[LinearScorer]:
    """One scorer a penalty, each drawn to the combination without training."""
    rows = Standardised.of(lists.features, [_core.CANDIDATE_FEATURES.index(name) for name in STAYS_HOME])
    usual = np.array([UNTRAINED_WEIGHTS.get(name, 0.0) for name in _core.CANDIDATE_FEATURES])
    direction = np.where(rows.values.any(0), usual * rows.scale, 0.0)
    return anchored_path(rows, shared(lists.relevant, lists.offsets), lists.offsets, direction, PENALTIES)


def _strongest(losses: Floats) -> int:
    """The strongest penalty whose losses [penalties, q] are within a standard error of the least (Breiman et al.
    1984): what held-out questions do not show clearly is not learned, and so does not harm elsewhere."""
    mean = losses.mean(1)
    best = int(mean.argmin())
    away = losses - losses[best]
    error = away.std(1) / np.sqrt(losses.shape[1])
    return int(np.flatnonzero(away.mean(1) <= error)[0])


def _linear(task: _Task) -> _Trained:
    lists = task.lists
    held_out = np.empty((len(PENALTIES), len(lists.features)))
    losses = np.empty((len(PENALTIES), len(lists)))
    question = lists.question
    for fold in np.unique(task.fold):
        outside, inside = np.flatnonzero(task.fold != fold), np.flatnonzero(task.fold == fold)
        judged = lists.at(inside)
        target = shared(judged.relevant, judged.offsets)
        for place, fitted in enumerate(linear_path(lists.at(outside))):
            scores = fitted(judged.features)
            held_out[place, task.fold[question] == fold] = scores
            losses[place, inside] = listwise_losses(scores, target, judged.offsets)
    best = _strongest(losses)
    fitted = linear_path(lists)[best]
    weights = dict(zip(_core.CANDIDATE_FEATURES, (round(float(each), 4) for each in fitted.weight), strict=True))
    return _Trained(fitted.tensors(), held_out[best], {"penalty": PENALTIES[best], "weights": weights})


def cell_tensors(lists: Lists, seed: int) -> dict[str, npt.NDArray[Any]]:
    """A FastGRNN step over the features, int8, as the engine reads candidate scorers.

    Raises:
        TrainingError: too few lists, or none that tells candidates apart.
    """
    from tiny_dancer.training.fastgrnn.ranker import fit_ranker

    tensors = fit_ranker(lists.features, lists.relevant.astype(np.float64), lists.question, seed=seed)
    # The engine takes a scorer's head, one row, in floating point.
    scale = tensors.pop("head.weight.scale")
    tensors.pop("head.weight.input_scale", None)
    return {**tensors, "head.weight": (tensors["head.weight"] * scale[:, None]).astype(np.float32)}


def _fastgrnn(task: _Task, progress: Callable[[str], None]) -> _Trained:
    def fitted(questions: Ints) -> dict[str, npt.NDArray[Any]]:
        return cell_tensors(task.lists.at(questions), task.seed)

    question = task.lists.question
    held_out = np.empty(len(task.lists.features))
    for fold in np.unique(task.fold):
        bare = export.build("fastgrnn", fitted(np.flatnonzero(task.fold != fold)), None, {})
        judged = [each for each, own in zip(task.questions, task.fold, strict=True) if own == fold]
        held_out[task.fold[question] == fold] = make_lists(_core.CandidateScorer(bare), task.sets, judged).scores
        progress("fastgrnn, held out")
    tensors = fitted(np.arange(len(task.lists)))
    progress("fastgrnn")
    return _Trained(tensors, held_out, {})


def _choice(trained: Mapping[str, _Trained], lists: Lists, asked: str) -> tuple[str, str]:
    if len(trained) == 1:
        return asked, "asked for" if asked != "linear" else "the simplest; none ranked better on LoCoMo"
    ranks = {name: lists.ranks(each.held_out) for name, each in trained.items()}
    gain = evaluate_rankings({"fastgrnn": ranks["fastgrnn"], "linear": ranks["linear"]}).differences["linear"][
        "mrr"
    ]
    figures = _in_figures(gain)
    if gain.above_zero:
        return "fastgrnn", f"fastgrnn ranks better than linear ({figures})"
    return "linear", f"fastgrnn does not rank better than linear ({figures})"


def _in_figures(gain: Interval) -> str:
    interval = f"95 % interval {gain.low:+z.3f} to {gain.high:+z.3f}"
    return f"MRR {gain.estimate:+z.3f}, {interval}, on held-out questions"


def _verdict(evaluation: RankingEvaluation) -> str:
    gain = evaluation.differences[UNTRAINED]["mrr"]
    figures = _in_figures(gain)
    if gain.above_zero:
        return f"ranks better than the combination without training ({figures})"
    return f"not shown to rank better than the combination without training ({figures}): serve that, or label more"
