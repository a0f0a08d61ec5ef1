"""Prompts by kind of task, and how they are split: read by the recipe of the artifact and by its benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tables import SHARED
from tiny_dancer import _core
from tiny_dancer.training.routes.head import NGRAMS, Head, TextFeatures, ngram_counts, rounded_head

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

NOT_SHIPPED = re.compile("BY-SA|nknown|GPT-4")
"""Licences of prompts that nothing shipped may be trained on."""
VIEWS = ("whole", "beginning", "end")
SHARES = {"words": 1.0, "characters": 1.0, "embedding": 1.0, "cues": 0.3, "bias": 0.3}
"""Of the kernel, per view."""
RIDGE = 1.0
MOST_DEVIATIONS = 3.0
LEAST_DEVIATION = 0.05
VIEW_BYTES = 295_000
"""That the n-gram weights of a view may take."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """n prompts.

    Attributes:
        text: of each.
        category: of each.
        source: where it comes from.
        family: of sources that share instructions or data.
        may_ship: whether what ships may be trained on it.
    """

    text: npt.NDArray[Any]
    category: npt.NDArray[Any]
    source: npt.NDArray[Any]
    family: npt.NDArray[Any]
    may_ship: npt.NDArray[np.bool_]


def prompts(shipped: bool = True) -> Prompts:
    """Those that may ship; or all."""
    from pyarrow import parquet

    rows = parquet.read_table(SHARED / "task_categories_train.parquet").to_pylist()
    allowed = [not NOT_SHIPPED.search(row["licence"]) for row in rows]
    if shipped:
        rows, allowed = [row for row, may in zip(rows, allowed, strict=True) if may], [True] * sum(allowed)
    text, category, source = (
        np.array([row[name] for row in rows], object) for name in ("text", "category", "source")
    )
    return Prompts(text, category, source, np.array([family(each) for each in source], object), np.array(allowed))


def family(source: str) -> str:
    """The data set or collection behind a source, whatever the wording of its instruction."""
    source = re.sub(r" \(.*own wording\)", "", source)
    if found := re.match(r"ni/(task\d+)", source):
        return found[1]
    if found := re.match(r"p3/[a-z]+_?[a-z]*", source):
        return found[0]
    return source if source.startswith("arena") else re.split(r"/| passages| question", source)[0]


def edges(text: str) -> tuple[str, str]:
    """Beginning and end as the engine cuts them."""
    data = text.strip().encode()
    most = _core.TASK_EDGE
    return data[:most].decode(errors="ignore"), data[-most:].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Features:
    """What the classifier reads of n prompts: each view's n-grams and embedding, and the cues of the whole."""

    views: tuple[TextFeatures, ...]
    cues: Floats


def as_features(table: FeatureTable) -> TextFeatures:
    """What heads read of texts that are featurised."""
    from scipy import sparse

    place = (np.ones(len(table.ngrams), np.float32), table.ngrams.astype(np.int32), table.ngram_offsets)
    length = np.linalg.norm(table.embedding.astype(np.float32), axis=1, keepdims=True)
    unit = table.embedding / np.where(length == 0, 1, length)
    return TextFeatures(sparse.csr_matrix(place, shape=(len(table.tokens), NGRAMS)), np.asarray(unit, np.float32))


def features(texts: npt.NDArray[Any]) -> Features:
    """Of n prompts."""
    whole = _core.featurise(list(texts))
    cut = [edges(text) for text in texts]
    parts = [_core.featurise([pair[at] for pair in cut]) for at in (0, 1)]
    return Features(tuple(as_features(each) for each in (whole, *parts)), whole.cues)


class Fitter:
    """Fits on subsets of rows. n-grams are weighted by their rarity in all prompts given; labels of rows left out
    are not seen."""

    def __init__(self, given: Features, category: npt.NDArray[Any]) -> None:
        self.given = given
        self.labels, self.target = np.unique(category.astype(str), return_inverse=True)
        n = len(category)
        self.mean = given.cues.mean(0)
        self.deviation = np.maximum(given.cues.std(0), LEAST_DEVIATION)
        self.blocks: list[tuple[str, str, Any, npt.NDArray[np.float64], Ints]] = []
        kernel = np.full((n, n), SHARES["bias"], np.float32)
        for name, view in zip(VIEWS, given.views, strict=True):
            frequency = np.bincount(view.ngrams.indices, minlength=view.ngrams.shape[1])
            counts = ngram_counts(view.ngrams)
            for kind, (first, last) in enumerate(((0, _core.CHAR_BASE), (_core.CHAR_BASE, 2 * _core.CHAR_BASE))):
                keys = first + np.flatnonzero(frequency[first:last] >= 2)
                rarity = np.log((1 + n) / (1 + frequency[keys]))
                x = view.ngrams[:, keys].multiply(rarity[None, :]).tocsr().astype(np.float32)
                x = x.multiply(1 / np.sqrt(np.maximum(counts[kind], 1))[:, None]).tocsr().astype(np.float32)
                kernel += self._block(name, ("words", "characters")[kind], x, rarity, keys)
            kernel += self._block(name, "embedding", view.embedding, np.ones(1), np.arange(1))
        kernel += self._block("whole", "cues", self.standardised(given.cues), np.ones(1), np.arange(1))
        self.kernel = kernel

    def standardised(self, cues: Floats) -> Floats:
        """Cues in deviations, clipped as the engine clips them."""
        far = MOST_DEVIATIONS
        clipped: Floats = np.clip((cues - self.mean) / self.deviation, -far, far).astype(np.float32)
        return clipped

    def _block(self, view: str, kind: str, x: Any, rarity: npt.NDArray[np.float64], keys: Ints) -> Floats:
        gram = (x @ x.T).toarray() if hasattr(x, "toarray") else x @ x.T
        scale = SHARES[kind] * len(gram) / float(np.trace(gram))
        self.blocks.append((view, kind, x * np.float32(scale), rarity, keys))
        scaled: Floats = np.asarray(gram * scale, np.float32)
        return scaled

    def fit(self, rows: Ints) -> Model:
        """Fits on ``rows``."""
        target = self.target[rows]
        weight = np.bincount(target, minlength=len(self.labels))[target] ** -1.0
        root = np.sqrt(weight / weight.mean())
        left = self.kernel[np.ix_(rows, rows)] * root[:, None] * root[None, :]
        left[np.diag_indices(len(rows))] += RIDGE
        signs = np.where(np.eye(len(self.labels), dtype=bool)[target], 1.0, -1.0)
        dual = np.zeros((len(self.target), len(self.labels)))
        dual[rows] = np.linalg.solve(left, signs * root[:, None]) * root[:, None]
        primal = {
            (view, kind): np.asarray(x.T @ dual.astype(np.float32)) * (rarity[:, None] if len(keys) > 1 else 1)
            for view, kind, x, rarity, keys in self.blocks
        }
        cues = (primal["whole", "cues"] / self.deviation[:, None]).T
        bias = SHARES["bias"] * dual.sum(0) - cues @ self.mean
        keys = {(view, kind): own for view, kind, _, _, own in self.blocks}
        heads = []
        for view in VIEWS:
            heads.append(
                rounded_head(
                    np.asarray(primal[view, "embedding"].T, np.float32),
                    np.asarray(bias if view == "whole" else 0 * bias, np.float32),
                    np.concatenate([keys[view, "words"], keys[view, "characters"]]),
                    np.concatenate([primal[view, "words"], primal[view, "characters"]]).astype(np.float32),
                    VIEW_BYTES,
                )
            )
        width = MOST_DEVIATIONS * self.deviation
        return Model(
            tuple(heads), cues.astype("<f4"), (self.mean - width).astype("<f4"), (self.mean + width).astype("<f4")
        )


@dataclass(frozen=True, slots=True)
class Model:
    """Heads of the views and weights of the cues, as the engine holds them."""

    heads: tuple[Head, ...]
    cues: Floats
    cue_least: Floats
    cue_most: Floats

    def scores(self, given: Features, rows: Ints) -> Floats:
        """As the engine computes them, to rounding: float32 [n, categories]."""
        cues = np.clip(given.cues[rows], self.cue_least, self.cue_most) @ self.cues.T
        parts = [head.scores(view.rows(rows)) for head, view in zip(self.heads, given.views, strict=True)]
        return np.asarray(cues + sum(parts), np.float32)


def folds(group: npt.NDArray[Any], category: npt.NDArray[Any], seed: int, count: int = 5) -> Ints:
    """The fold of each row: whole groups, categories spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(group), np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    split = splitter.split(np.zeros(len(group)), category.astype(str), group.astype(str))
    for number, (_, held) in enumerate(split):
        fold[held] = number
    return fold


def held_out_scores(fitter: Fitter, fold: Ints) -> tuple[Floats, Floats]:
    """Scores of every row, [n, k], by a model that saw no row of its fold, and the share of its word n-grams
    that this
    model knows, [n]."""
    found, known = np.zeros((len(fold), len(fitter.labels)), np.float32), np.zeros(len(fold), np.float32)
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        model = fitter.fit(np.flatnonzero(fold != number))
        found[held] = model.scores(fitter.given, held)
        known[held] = model.heads[0].known(fitter.given.views[0].rows(held))[0]
    return found, known


def softmax(scores: Floats, temperature: float) -> Floats:
    """Probabilities [n, k]."""
    exponent = np.exp((scores - scores.max(1, keepdims=True)) / temperature)
    return np.asarray(exponent / exponent.sum(1, keepdims=True), np.float32)


def fitted_temperature(scores: Floats, target: Ints, group: npt.NDArray[Any]) -> float:
    """Least mean log loss, groups weighing as the root of their rows: a large source is not all traffic."""
    _, place, count = np.unique(group.astype(str), return_inverse=True, return_counts=True)
    weight = (count**-0.5)[place]
    grid = np.geomspace(0.05, 3, 60)
    loss = [
        -np.average(np.log(softmax(scores, each)[np.arange(len(target)), target] + 1e-9), weights=weight)
        for each in grid
    ]
    return float(np.float32(grid[int(np.argmin(loss))]))
