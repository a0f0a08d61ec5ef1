"""A linear head over hashed n-grams and an embedding, fitted by stochastic gradients, and as int8.

The features of a text are its n-grams, each weighted by its inverse document frequency and all of them
divided by the root of their number (words and characters apart), beside its unit embedding. The loss is the
cross-entropy of a softmax (one label a text) or of independent sigmoids (any number of labels). Embedding
weights and bias go by Adam (Kingma and Ba 2015), n-gram weights by one adaptive step size a row (AdaGrad,
Duchi et al. 2011); both step sizes fall to zero in a straight line, and how long they take stands for
regularisation. A hidden layer over the embedding was no better on two tables of intents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

NGRAMS = 2 * _core.CHAR_BASE
MOST_BYTES = 900_000
"""Of n-gram weights and prototypes: with the rest, an artifact of 150 routes stays below 1 MiB."""
_EMBEDDING_SIZE = 2.0
_NGRAM_SIZE, _NGRAM_SIZE_OF_FEW = 2.0, 1.0
_FEW = 2000
"""Below so many rows n-grams are too rare to be leant on as much, and each of them is kept."""
_BATCH = 64
_ADAM = 0.02
_ADAGRAD = 0.03
_STEPS_LEAST, _EPOCHS_LEAST, _EPOCHS_MOST = 2000, 8, 40
_CLIPPED = 0.999

Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """What a head reads of n texts.

    Attributes:
        ngrams: scipy CSR [n, 2^18] of ones, sorted, words before characters.
        embedding: unit vectors float32 [n, D]; a zero row where nothing is known.
    """

    ngrams: Any
    embedding: Floats

    def __len__(self) -> int:
        return len(self.embedding)

    def rows(self, index: Ints) -> TextFeatures:
        """Those of the rows at ``index``."""
        return TextFeatures(self.ngrams[index], self.embedding[index])


@dataclass(frozen=True, slots=True)
class Head:
    """A head of k outputs, as the engine holds it: every weight is an int8 times its scale.

    Attributes:
        bias: float32 [k].
        embedding: int8 [k, D] and float32 [k].
        keys: which n-grams have weights, rising.
        weights: int8 [len(keys), k], most of them 0.
        scale: of words and of characters.
    """

    bias: Floats
    embedding: npt.NDArray[np.int8]
    embedding_scale: Floats
    keys: Ints
    weights: npt.NDArray[np.int8]
    scale: tuple[float, float]

    def scores(self, features: TextFeatures) -> Floats:
        """As the engine computes them, to rounding: float32 [n, k]."""
        found = (
            rounded_direction(features.embedding) @ (self.embedding * self.embedding_scale[:, None]).T + self.bias
        )
        x = features.ngrams[:, self.keys].tocsr()
        words = int(np.searchsorted(self.keys, _core.CHAR_BASE))
        for kind, count in enumerate(ngram_counts(features.ngrams)):
            part = slice(0, words) if kind == 0 else slice(words, len(self.keys))
            sums = x[:, part] @ self.weights[part].astype(np.float32)
            found += sums * (self.scale[kind] / np.sqrt(np.maximum(count, 1)))[:, None]
        return np.asarray(found, np.float32)

    def known(self, features: TextFeatures) -> tuple[Floats, Floats]:
        """Shares of the texts' word and character n-grams that have weights, [n] each."""
        has = self.weights.any(axis=1)
        x = features.ngrams[:, self.keys[has]].tocsr()
        words = int(np.searchsorted(self.keys[has], _core.CHAR_BASE))
        counts = ngram_counts(features.ngrams)
        parts = (x[:, :words], x[:, words:])
        shares = [
            np.asarray(part.sum(axis=1)).ravel() / np.maximum(count, 1)
            for part, count in zip(parts, counts, strict=True)
        ]
        return shares[0].astype(np.float32), shares[1].astype(np.float32)

    def pairs(self) -> npt.NDArray[np.uint8]:
        """A bit for every word n-gram, set where it has weights, as artifacts pack them."""
        return self._present()[: _core.CHAR_BASE // 8]

    def _present(self) -> npt.NDArray[np.uint8]:
        present = np.zeros(NGRAMS, np.uint8)
        present[self.keys[self.weights.any(axis=1)]] = 1
        return np.packbits(present, bitorder="little")

    def tensors(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """By the engine's names (``heads.rs``)."""
        has = self.weights.any(axis=1)
        weights = self.weights[has]
        _, output = np.nonzero(weights)
        return {
            f"{name}.bias": self.bias,
            f"{name}.embedding": self.embedding,
            f"{name}.embedding_scale": self.embedding_scale,
            f"{name}.ngrams": self._present(),
            f"{name}.ngram_counts": (weights != 0).sum(axis=1).astype("<u2"),
            f"{name}.ngram_outputs": output.astype("u1" if weights.shape[1] <= 256 else "<u2"),
            f"{name}.ngram_weights": weights[weights != 0],
            f"{name}.ngram_scale": np.asarray(self.scale, "<f4"),
        }


def ngram_counts(ngrams: Any) -> tuple[Ints, Ints]:
    """How many word and character n-grams each text has, [n] each."""
    total = np.diff(ngrams.indptr)
    words = np.add.reduceat(
        np.append(ngrams.indices < _core.CHAR_BASE, False).astype(np.int64), ngrams.indptr[:-1]
    )
    words = np.where(total > 0, words, 0)
    return words, total - words


def rounded_direction(vectors: Floats) -> Floats:
    """Unit vectors rounded to int8 as the engine does, at length 1 again: float32 [n, D]."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    rounded = np.rint(vectors / np.where(largest == 0, 1, largest) * 127)
    length = np.linalg.norm(rounded, axis=1, keepdims=True)
    return np.asarray(rounded / np.where(length == 0, 1, length), np.float32)


def fit_head(
    features: TextFeatures,
    target: npt.NDArray[Any],
    outputs: int,
    seed: int,
    loss: Loss = "softmax",
    most_bytes: int = MOST_BYTES,
) -> Head:
    """Fits a head.

    Args:
        features: of n texts.
        target: the label of each, int [n]; or how far each label holds, float [n, outputs] in [0, 1], NaN where
            that is unknown (sigmoids only).
        outputs: k.
        seed: of the order of rows.
        loss: of the softmax over outputs, or of one sigmoid an output.
        most_bytes: that the n-gram weights may take.
    """
    from scipy import sparse

    dice = np.random.default_rng(seed)
    n, dimensions = features.embedding.shape
    frequency = np.bincount(features.ngrams.indices, minlength=NGRAMS)
    # What one text alone has says nothing of others, unless there are few texts.
    keys = np.flatnonzero(frequency >= (1 if n < _FEW else 2))
    x = features.ngrams[:, keys].tocsr().astype(np.float32)
    rarity = np.log((1 + n) / (1 + frequency[keys])).astype(np.float32)
    rarity *= (
        (_NGRAM_SIZE_OF_FEW if n < _FEW else _NGRAM_SIZE) / max(float(rarity.mean()), 1e-6) if len(keys) else 1
    )
    is_word = keys < _core.CHAR_BASE
    roots = [1 / np.sqrt(np.maximum(count, 1)) for count in ngram_counts(features.ngrams)]
    row = np.repeat(np.arange(n), np.diff(x.indptr))
    x.data = (rarity[x.indices] * np.where(is_word[x.indices], roots[0][row], roots[1][row])).astype(np.float32)
    e = features.embedding * np.float32(_EMBEDDING_SIZE)

    wide = np.zeros((len(keys), outputs), np.float32)
    seen = np.full((len(keys), 1), 1e-6, np.float32)
    dense = np.zeros((dimensions + 1, outputs), np.float32)
    first, second = np.zeros_like(dense), np.zeros_like(dense)
    epochs = int(np.clip(np.ceil(_STEPS_LEAST * _BATCH / max(n, 1)), _EPOCHS_LEAST, _EPOCHS_MOST))
    steps, step = epochs * -(-n // _BATCH), 0
    for _ in range(epochs):
        order = dice.permutation(n)
        for start in range(0, n, _BATCH):
            batch, step, rate = order[start : start + _BATCH], step + 1, 1 - step / steps
            part = x[batch]
            used, place = np.unique(part.indices, return_inverse=True)
            part = sparse.csr_matrix((part.data, place, part.indptr), shape=(len(batch), len(used)))
            inner = np.concatenate([e[batch], np.ones((len(batch), 1), np.float32)], axis=1)
            slope = _slope(part @ wide[used] + inner @ dense, target[batch], loss) / len(batch)
            down = inner.T @ slope
            first += 0.1 * (down - first)
            second += 0.001 * (down**2 - second)
            dense -= rate * _ADAM * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            down = part.T @ slope
            seen[used] += (down**2).mean(axis=1, keepdims=True)
            wide[used] -= rate * _ADAGRAD * down / np.sqrt(seen[used])
    return rounded_head(
        np.asarray(dense[:-1].T * _EMBEDDING_SIZE, np.float32),
        dense[-1],
        keys,
        wide * rarity[:, None],
        most_bytes,
    )


def _slope(scores: Floats, target: npt.NDArray[Any], loss: Loss) -> Floats:
    """Of the loss by the scores, [n, k]."""
    if loss == "sigmoid":
        return np.asarray(np.nan_to_num(1 / (1 + np.exp(-scores)) - target), np.float32)
    slope = np.exp(scores - scores.max(axis=1, keepdims=True))
    slope /= slope.sum(axis=1, keepdims=True)
    if target.ndim == 2:
        slope -= target
    else:
        slope[np.arange(len(target)), target] -= 1
    return np.asarray(slope, np.float32)


def rounded_head(embedding: Floats, bias: Floats, keys: Ints, wide: Floats, most_bytes: int) -> Head:
    """As int8: the largest n-gram weights that fit into ``most_bytes``, the rest are 0."""
    outputs = len(bias)
    each = 2 if outputs <= 256 else 3
    most = max(1, (most_bytes - 2 * len(keys)) // each)
    size = np.abs(wide)
    if wide.size > most:
        least = np.partition(size.ravel(), -most)[-most]
        wide = np.where(size >= max(least, 1e-12), wide, 0)
    scale, weights = [], np.zeros(wide.shape, np.int8)
    words = int(np.searchsorted(keys, _core.CHAR_BASE))
    for part in (slice(0, words), slice(words, len(keys))):
        held = np.abs(wide[part][wide[part] != 0])
        step = max(float(np.quantile(held, _CLIPPED)) if held.size else 0.0, 1e-9) / 127
        weights[part] = np.clip(np.rint(wide[part] / step), -127, 127)
        scale.append(step)
    rows = np.maximum(np.abs(embedding).max(axis=1), 1e-9) / 127
    return Head(
        bias=bias.astype("<f4"),
        embedding=np.rint(embedding / rows[:, None]).astype(np.int8),
        embedding_scale=rows.astype("<f4"),
        keys=keys,
        weights=weights,
        scale=(scale[0], scale[1]),
    )
