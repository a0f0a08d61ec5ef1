"""Learning which tools requests use: ridge regression on hashed n-grams and on nearness to landmarks.

Ridge regression of many labels at once (Hoerl and Kennard 1970) in its dual form: with the rows' features in X and
the used tools in Y (0 or 1), the weights are ``Xᵀ (X Xᵀ + λI)⁻¹ Y``. Features are hashed n-grams of words and of
characters, each sort of length 1, and how near the embedding is to each landmark, ``exp(−2γ(1 − cosine))``: the
mean vectors of the tools' requests, and some of the requests (a radial basis function network, Broomhead and Lowe
1988). Beside that stands the cosine with the mean vector of each tool's requests (Rocchio 1971). How much both
count beside the schemas is chosen on rows that were not learned from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import TrainingError
from tiny_dancer.evaluation.bootstrap import bootstrap_shares
from tiny_dancer.training.backends.linear import hashed_ngrams
from tiny_dancer.training.backends.quantise import quantise

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.training.tools.data import ToolQueries, ToolTable
    from tiny_dancer.types import FeatureTable

    Floats = npt.NDArray[np.float64]

MOST_ROWS = 8000
"""Rows that are learned from; of more, the same share of each tool's."""
FEWEST_ROWS = 10
MOST_CELLS = 1 << 22
"""Of each table of weights: tools times buckets."""
MOST_BUCKETS = 1 << 14
MOST_LANDMARKS = 1024
MOST_NEARNESS = 1 << 19
"""Landmarks times tools: bounds the time of a selection."""

WIDTH = 4.0
"""γ; 2, 4, 6 and 10 were tried on one half of MetaTool's requests."""
NEARNESS = 2.0
"""How much nearness counts beside words and characters, 1 each; 1, 2 and 4 were tried there."""
PENALTY = 0.5
FOLDS = 4
WEIGHTS = (0.0, 2.5, 5.0, 10.0, 20.0)
"""How much what is expected may count beside what the schemas say; 0 is not at all."""
MEAN_SHARES = (0.0, 1.0, 3.0)
"""How much nearness to a tool's mean vector may count for every one of that."""

SELF_CHECK_TEXTS = (
    "What will the weather be like in Porto tomorrow?",
    "Send Ann a message that the meeting is at 3 pm, and book the small room.",
    "def f(x): return x + 1",
    "Übersetze das bitte ins Englische. 你好",
)


@dataclass(frozen=True, slots=True)
class LearnedTools:
    """An artifact of learned use.

    Attributes:
        artifact: its bytes.
        rows: requests that it was learned from.
        tools: how many tools they used.
        weight: how much what is expected counts beside the schemas; 0 where use told nothing that they do not.
        mean_weight: how much nearness to the mean vector of a tool's requests does.
        metrics: `untrained` and `learned` → `top-1` and `recall@5` with intervals; each row is judged by a fit
            without it.
    """

    artifact: bytes
    rows: int
    tools: int
    weight: float
    mean_weight: float
    metrics: dict[str, dict[str, Interval]]


def learn_tools(
    tools: ToolTable, queries: ToolQueries, *, seed: int = 0, version: str = "1.0.0", created: str = ""
) -> LearnedTools:
    """Learns from requests and the tools they used.

    Raises:
        TrainingError: too few requests with a tool that is in the table.
        DataError: a schema that is no tool.
    """
    rows = _rows(queries, seed)
    if len(rows) < FEWEST_ROWS:
        remedy = f"give {FEWEST_ROWS} or more requests with the tools they used"
        raise TrainingError("tool_ids", f"{len(rows)} requests with a known tool", remedy)
    texts = [queries.texts[row] for row in rows]
    used = [queries.tool_ids[row] for row in rows]
    known = sorted({name for names in used for name in names})
    place = {name: column for column, name in enumerate(known)}
    labels = np.zeros((len(rows), len(known)))
    for row, names in enumerate(used):
        labels[row, [place[name] for name in names]] = 1.0

    table = _core.featurise(texts, by=_core.sentence_encoder())
    selector = tools.selector()
    untrained = selector.score_many(texts)
    row_of = {name: row for row, name in enumerate(selector.ids)}
    columns = np.array([row_of[name] for name in known])
    right = np.zeros(untrained.shape, bool)
    right[:, columns] = labels > 0

    learned, near = np.zeros_like(untrained), np.zeros_like(untrained)
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    for number in range(FOLDS):
        outside = fold == number
        features = _Features(table, labels, ~outside, seed)
        learned[outside] = _standing_out(features.expect(outside), columns, untrained.shape[1], USUAL)
        near[outside] = _standing_out(features.near_means(outside), columns, untrained.shape[1], USUAL_NEARNESS)
    figures = {
        (weight, weight * share): _figures(untrained + weight * (learned + share * near), right)
        for weight in WEIGHTS
        for share in MEAN_SHARES
    }
    # Of equals the one that changes least.
    weights = max(figures, key=lambda each: (round(float(figures[each].mean()), 9), -each[0], -each[1]))
    weight, mean_weight = weights
    features = _Features(table, labels, np.ones(len(rows), bool), seed)
    tensors = features.tensors(with_means=mean_weight > 0)
    metrics = {
        name: dict(zip(("top-1", "recall@5"), _intervals(values, seed), strict=True))
        for name, values in (("untrained", figures[0.0, 0.0]), ("learned", figures[weights]))
    }
    header: dict[str, Any] = {
        "format": _core.FORMAT,
        "kind": "tools",
        "version": version,
        "created": created,
        "tools": known,
        "features": _core.FEATURE_SPEC,
        "encoder": _core.sentence_encoder().checksum,
        "width": WIDTH,
        "weight": weight,
        "mean_weight": mean_weight,
        "seed": seed,
        "training": {"queries": queries.digest, "tools": tools.digest, "rows": len(rows)},
        "metrics": {
            method: {name: [each.estimate, each.low, each.high] for name, each in found.items()}
            for method, found in metrics.items()
        },
        "self_check": [],
    }
    bare = _core.artifact_bytes(header, tensors)
    checks = _core.tool_expectations(bare, _core.sentence_encoder(), list(SELF_CHECK_TEXTS))
    header["self_check"] = [
        {"text": text, "expected": [float(value) for value in np.frombuffer(values, "<f4")]}
        for text, values in zip(SELF_CHECK_TEXTS, checks, strict=True)
    ]
    return LearnedTools(_core.with_header(bare, header), len(rows), len(known), weight, mean_weight, metrics)


def _rows(queries: ToolQueries, seed: int) -> list[int]:
    """Rows to learn from, in their order: where there are too many, each tool keeps the same share."""
    rows = [row for row, names in enumerate(queries.tool_ids) if names]
    if len(rows) <= MOST_ROWS:
        return rows
    random = np.random.default_rng(seed)
    by_tool: dict[str, list[int]] = {}
    for row in rows:
        by_tool.setdefault(queries.tool_ids[row][0], []).append(row)
    share = MOST_ROWS / len(rows)
    kept: list[int] = []
    for name in sorted(by_tool):
        found = by_tool[name]
        kept.extend(random.choice(found, max(1, math.floor(share * len(found))), replace=False).tolist())
    return sorted(kept)


class _Features:
    """A fit on some rows: their features in the form the engine has them, and the weights in that form."""

    def __init__(self, table: FeatureTable, labels: Floats, inside: npt.NDArray[np.bool_], seed: int) -> None:
        tools = labels.shape[1]
        buckets = MOST_BUCKETS
        while buckets > 256 and buckets * tools > MOST_CELLS:
            buckets //= 2
        self._tables = [hashed_ngrams(table, buckets, characters=characters) for characters in (False, True)]
        embedding = table.embedding.astype(np.float64)
        embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
        most = min(MOST_LANDMARKS, max(MOST_NEARNESS // tools, 1))
        self._landmarks = _landmarks(embedding[inside], labels[inside], most, seed)
        self._embedding = embedding
        self._means = _int8_directions(labels[inside].T @ embedding[inside])
        # As the engine sees them: int8 directions.
        directions = self._landmarks / np.linalg.norm(self._landmarks, axis=1, keepdims=True)
        near = np.exp(2 * WIDTH * (np.minimum(embedding @ directions.T, 1.0) - 1.0))
        # So that nearness counts as much whatever the number of landmarks.
        self._factor = NEARNESS / float((near[inside] ** 2).sum(1).mean())
        self._near = near
        fitted = [each[inside] for each in self._tables]
        kernel = self._factor * (near[inside] @ near[inside].T)
        for each in fitted:
            kernel += (each @ each.T).toarray()
        kernel[np.diag_indices_from(kernel)] += PENALTY
        dual = np.linalg.solve(kernel, labels[inside])
        self._weights = {
            "words": np.asarray(fitted[0].T @ dual),
            "characters": np.asarray(fitted[1].T @ dual),
            "nearness": self._factor * (near[inside].T @ dual),
        }

    def expect(self, rows: npt.NDArray[np.bool_]) -> Floats:
        """What is expected of each tool for some rows, float64 [rows, tools]."""
        parts = (self._tables[0][rows], self._tables[1][rows], self._near[rows])
        return np.array(sum(part @ weights for part, weights in zip(parts, self._weights.values(), strict=True)))

    def near_means(self, rows: npt.NDArray[np.bool_]) -> Floats:
        """Cosine of some rows with the mean vector of each tool's requests, float64 [rows, tools]."""
        lengths = np.linalg.norm(self._means, axis=1, keepdims=True)
        found: Floats = self._embedding[rows] @ (self._means / np.maximum(lengths, 1e-12)).T
        return found

    def tensors(self, *, with_means: bool) -> dict[str, npt.NDArray[Any]]:
        """The engine's tensors."""
        found: dict[str, npt.NDArray[Any]] = {
            "landmarks": self._landmarks.astype(np.int8),
            "intercept": np.zeros(self._weights["words"].shape[1], np.float32),
        }
        if with_means:
            found["means"] = self._means.astype(np.int8)
        scales = {"words": "word_scale", "characters": "character_scale", "nearness": "nearness_scale"}
        for name, table in self._weights.items():
            found[name], found[scales[name]] = quantise(table)
        return found


def _landmarks(embedding: Floats, labels: Floats, most: int, seed: int) -> Floats:
    """The mean vectors of the tools' requests, then some of the requests, as int8 directions, float64 [m, 256]."""
    means = labels.T @ embedding
    means = means[np.linalg.norm(means, axis=1) > 0]
    random = np.random.default_rng(seed)
    kept = means[np.sort(random.permutation(len(means))[:most])]
    filled = embedding[np.linalg.norm(embedding, axis=1) > 0]
    more = filled[np.sort(random.permutation(len(filled))[: max(0, most - len(kept))])]
    both = np.concatenate([kept, more])
    if not len(both):  # no request has a known word: one that is near nothing
        both = np.eye(1, embedding.shape[1])
    return _int8_directions(both)


def _int8_directions(vectors: Floats) -> Floats:
    """Vectors as long as int8 allows, rounded; one without a length stays."""
    largest = np.maximum(np.abs(vectors).max(1, keepdims=True), 1e-12)
    rounded: Floats = np.rint(127 * vectors / largest)
    return rounded


def _standing_out(expected: Floats, columns: npt.NDArray[np.int64], tools: int, usual: float) -> Floats:
    """As the engine adds it: standardised over all tools, those that were never used at the mean."""
    full = np.repeat(expected.mean(1, keepdims=True), tools, axis=1)
    full[:, columns] = expected
    centred = full - full.mean(1, keepdims=True)
    prior = PRIOR_ROWS * usual**2
    deviation = np.sqrt(((centred**2).sum(1, keepdims=True) + prior) / (tools + PRIOR_ROWS))
    found: Floats = centred / deviation
    return found


PRIOR_ROWS, USUAL, USUAL_NEARNESS = 30, 0.05, 0.1
"""As in ``tools/standard.rs`` and ``tools/set.rs``."""


def _figures(scores: Floats, right: npt.NDArray[np.bool_]) -> Floats:
    """Of each row whether the first tool is right, and the right ones' share in the first five, float64 [n, 2]."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(right, order, axis=1)
    return np.stack([hits[:, 0].astype(np.float64), hits.sum(1) / right.sum(1)], axis=1)


def _intervals(values: Floats, seed: int) -> list[Interval]:
    found = bootstrap_shares(values, seed=seed)
    return [found.interval(column) for column in range(values.shape[1])]
