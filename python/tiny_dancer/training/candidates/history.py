"""What was shown, where, and what of it helped: routing history and feedback out of storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.storage import HistoryStorage, RoutingRecord

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_FEATURE_BYTES = 4 * len(_core.CANDIDATE_FEATURES)
_OWN_SCORES = (0, 2)
"""Levels at which a scorer looked at this very query: 0 learned, 2 the combination without training. A cached
answer's features belong to another query; at level 3 there are none."""


@dataclass(frozen=True, slots=True)
class History:
    """s answers that showed n candidates, answer below answer, oldest first.

    Attributes:
        features: float32 [n, 19], as they were when the candidate was scored.
        score: float64 [n], what it was ranked by then.
        rank: int64 [n], position it was shown at, from 0.
        helped: float64 [n] in [0, 1], its feedback; 0 where there is none.
        rated: bool [n], whether there is feedback of either kind.
        pair: int64 [n], equal for the same candidate shown for the same query; -1 where the query is unknown.
        offsets: int64 [s + 1].
        query: int64 [s], equal for answers to the same query.
        version: s names of what scored.
    """

    features: npt.NDArray[np.float32]
    score: Floats
    rank: Ints
    helped: Floats
    rated: npt.NDArray[np.bool_]
    pair: Ints
    offsets: Ints
    query: Ints
    version: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def answer(self) -> Ints:
        """Each row's answer, int64 [n]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def has_help(self) -> npt.NDArray[np.bool_]:
        """Whether anything of an answer helped, bool [s]."""
        found = np.zeros(len(self), np.bool_)
        np.logical_or.at(found, self.answer, self.helped > 0)
        return found

    def at(self, answers: Ints) -> History:
        """Some answers, in that order."""
        lengths = np.diff(self.offsets)[answers]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[answers] - offsets[:-1], lengths)
        return History(
            self.features[rows],
            self.score[rows],
            self.rank[rows],
            self.helped[rows],
            self.rated[rows],
            self.pair[rows],
            offsets,
            self.query[answers],
            tuple(self.version[answer] for answer in answers),
        )


def read_history(storage: HistoryStorage) -> tuple[History, Mapping[str, int]]:
    """All answers that can be learned from, and how many cannot, by reason.

    Raises:
        StorageError: the database cannot be read.
    """
    feedback: dict[str, dict[str, float]] = {}
    for each in storage.feedback_history(limit=None):
        if each.candidate_id is not None:
            feedback.setdefault(each.decision_id, {})[each.candidate_id] = each.score
    left_out = {"answered by a fallback": 0, "fewer than two candidates shown": 0, "features not kept": 0}
    answers: list[RoutingRecord] = []
    for record in storage.routing_history(kind="candidates", limit=None):
        if record.level not in _OWN_SCORES:
            left_out["answered by a fallback"] += 1
        elif len(record.shown) < 2:
            left_out["fewer than two candidates shown"] += 1
        elif any(each.score is None or len(each.features) != _FEATURE_BYTES for each in record.shown):
            left_out["features not kept"] += 1
        else:
            answers.append(record)
    answers.sort(key=lambda record: (record.time, record.decision_id))
    queries: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    rows = [(record, each) for record in answers for each in record.shown]
    given = [feedback.get(record.decision_id, {}).get(each.candidate_id) for record, each in rows]
    for record in answers:
        queries.setdefault(record.query_hash or record.decision_id, len(queries))
    pair = [
        -1 if record.query_hash is None else pairs.setdefault((record.query_hash, each.candidate_id), len(pairs))
        for record, each in rows
    ]
    flat = b"".join(each.features for _, each in rows)
    return History(
        np.frombuffer(flat, "<f4").reshape(-1, len(_core.CANDIDATE_FEATURES)),
        np.array([each.score for _, each in rows], np.float64),
        np.array([each.rank for _, each in rows], np.int64),
        np.array([score or 0.0 for score in given], np.float64),
        np.array([score is not None for score in given], np.bool_),
        np.array(pair, np.int64),
        np.concatenate([[0], np.cumsum([len(record.shown) for record in answers])]).astype(np.int64),
        np.array([queries[record.query_hash or record.decision_id] for record in answers], np.int64),
        tuple(record.artifact_version for record in answers),
    ), left_out
