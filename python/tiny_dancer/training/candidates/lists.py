"""Every candidate of every question, as the engine sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import TrainingError
from tiny_dancer.evaluation.candidates import relevant_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.candidate_set import CandidateSet
    from tiny_dancer.training.candidates.data import Question

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lists:
    """q questions, each with all candidates of its conversation: n rows, question below question.

    Attributes:
        features: float32 [n, 19], in the order of ``_core.CANDIDATE_FEATURES``.
        scores: float32 [n], by the scorer the lists were made with.
        relevant: bool [n].
        tie: int64 [n], place of the candidate's id among the ids: the engine orders equal scores by it.
        offsets: int64 [q + 1]; question i has the rows from ``offsets[i]`` to ``offsets[i + 1]``.
        conversation: int64 [q], equal for questions about one conversation.
    """

    features: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    relevant: npt.NDArray[np.bool_]
    tie: Ints
    offsets: Ints
    conversation: Ints

    def __len__(self) -> int:
        return len(self.conversation)

    @property
    def question(self) -> Ints:
        """Each row's question, int64 [n]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def at(self, questions: Ints) -> Lists:
        """The lists of some questions, in that order."""
        lengths = np.diff(self.offsets)[questions]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[questions] - offsets[:-1], lengths)
        return Lists(
            self.features[rows],
            self.scores[rows],
            self.relevant[rows],
            self.tie[rows],
            offsets,
            self.conversation[questions],
        )

    def split(self, values: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
        """Values [n] question by question."""
        return np.split(values, self.offsets[1:-1])

    def column(self, feature: str) -> npt.NDArray[np.float32]:
        """One feature of all rows, float32 [n]."""
        return self.features[:, _core.CANDIDATE_FEATURES.index(feature)]

    def ranks(self, scores: npt.NDArray[np.floating]) -> list[Ints]:
        """Per question the ranks of its relevant candidates under ``scores`` [n]."""
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return [
            relevant_ranks(scores[start:end], self.relevant[start:end], self.tie[start:end])
            for start, end in bounds
        ]

    def baselines(self) -> dict[str, list[Ints]]:
        """Ranks by what needs no training: cosine, words (BM25 as a share of the best), and their sum."""
        cosine, words = self.column("cosine"), self.column("words")
        return {
            "cosine": self.ranks(cosine),
            "words": self.ranks(words),
            "cosine + words": self.ranks(cosine + words),
        }


def make_lists(
    scorer: _core.CandidateScorer, sets: Mapping[str, CandidateSet], questions: Sequence[Question]
) -> Lists:
    """Features and scores of every candidate of each question, by the engine.

    Raises:
        TrainingError: no questions.
        CandidateError: a question's embedding that does not fit its conversation's memories.
    """
    if not questions:
        raise TrainingError("evidence", "no question has any", "name the memories that hold the answers")
    names = sorted({question.conversation for question in questions})
    places = {name: {id: place for place, id in enumerate(sets[name].ids)} for name in names}
    ties = {}
    for name, place in places.items():
        ties[name] = np.empty(len(place), np.int64)
        ties[name][[place[id] for id in sorted(place)]] = np.arange(len(place))
    features, scores, relevant, tie = [], [], [], []
    for question in questions:
        candidates = sets[question.conversation]
        flat, scored = scorer.score_all(
            candidates.native, question.embedding, question.text, None, question.now, candidates.encoder
        )
        features.append(np.frombuffer(flat, "<f4").reshape(len(_core.CANDIDATE_FEATURES), -1).T)
        scores.append(np.frombuffer(scored, "<f4"))
        flags = np.zeros(len(candidates), np.bool_)
        flags[[places[question.conversation][id] for id in question.evidence]] = True
        relevant.append(flags)
        tie.append(ties[question.conversation])
    return Lists(
        np.concatenate(features),
        np.concatenate(scores),
        np.concatenate(relevant),
        np.concatenate(tie),
        np.concatenate([[0], np.cumsum([len(flags) for flags in relevant])]).astype(np.int64),
        np.array([names.index(question.conversation) for question in questions], np.int64),
    )
