"""A scorer applied to tables of memories and questions: rankings, and figures about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tiny_dancer import _core, files
from tiny_dancer.errors import ArtifactError, OptionError
from tiny_dancer.evaluation.candidates import RankingEvaluation, evaluate_rankings
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.overlap import training_rows
from tiny_dancer.routing import featurise
from tiny_dancer.training.candidates.fit import UNTRAINED
from tiny_dancer.training.candidates.lists import make_lists

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.training.candidates.data import Memories, Questions


@dataclass(frozen=True, slots=True)
class Ranking:
    """The memories ranked first for one question.

    Attributes:
        memory_ids: best first; equal scores by id.
        scores: theirs.
    """

    memory_ids: tuple[str, ...]
    scores: tuple[float, ...]


def load_scorer(path: Path | str) -> bytes:
    """Bytes of a scorer's artifact, loaded once as a check.

    Raises:
        ArtifactError: no such file, or no candidate scorer.
    """
    try:
        data = files.read(path, most=_core.LARGEST_ARTIFACT)
    except OSError as error:
        raise ArtifactError(
            "artifact", f"{path}: {error.strerror}", "give the path of a candidate artifact"
        ) from error
    _core.CandidateScorer(data)
    return data


def scorer_name(artifact: bytes | None) -> str:
    """What rankings by it are called: the kind of scorer and its version."""
    if artifact is None:
        return UNTRAINED
    header = _core.read_header(artifact)
    return f"{header['scorer']} {header['version']}"


def evaluate_candidates(
    memories: Memories,
    questions: Questions,
    artifact: bytes | None = None,
    *,
    quantised: bool = False,
    seed: int = 0,
) -> RankingEvaluation:
    """Judges a scorer, or the combination without training, beside the baselines.

    A question's candidates are all memories of its conversation; questions without known evidence are left out.

    Args:
        memories: what can be found.
        questions: with evidence.
        artifact: of the scorer; the combination without training where None.
        quantised: rank over int8 embeddings.
        seed: of the bootstrap.

    Raises:
        TrainingError: no question has known evidence.
    """
    sets, answerable = memories.sets(quantised=quantised), questions.answerable
    lists = make_lists(_core.CandidateScorer(artifact), sets, answerable)
    methods = {scorer_name(artifact): lists.ranks(lists.scores), **lists.baselines()}
    if artifact is not None:
        untrained = make_lists(_core.CandidateScorer(), sets, answerable)
        methods[UNTRAINED] = untrained.ranks(untrained.scores)
    found = evaluate_rankings(methods, seed=seed)
    if artifact is None:
        return found
    asked = [question.text for question in answerable]
    features = featurise(asked, None, None)
    seen = training_rows(_core.read_header(artifact), features, Texts(asked), copies_only=True)
    return replace(found, trained_on=seen.share)


def predict_candidates(
    artifact: bytes | None, memories: Memories, questions: Questions, *, k: int
) -> list[Ranking]:
    """The k best memories of each question, in the questions' order; fewer where its conversation has fewer.

    Raises:
        OptionError: k below 1.
    """
    if k < 1:
        raise OptionError("k", k, "ask for at least one memory")
    scorer, sets = _core.CandidateScorer(artifact), memories.sets()
    rankings = []
    for question in questions.questions:
        candidates = sets[question.conversation]
        found, _, _, _ = scorer.rank(
            candidates.native, question.embedding, question.text, None, question.now, candidates.encoder, k
        )
        rankings.append(Ranking(tuple(each.candidate_id for each in found), tuple(each.score for each in found)))
    return rankings
