"""Ridge regression on hashed word and character n-grams, standardised cues and the static embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from tiny_dancer import _core
from tiny_dancer.training.backends.quantise import quantise
from tiny_dancer.training.backends.trees import unit_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Matrix, Targets
    from tiny_dancer.types import FeatureTable


_SMALLEST_DEVIATION = 0.2
"""A cue that varies less is standardised as if it varied so much: what a few rows in hundreds have is not trusted
as far as what all of them have. Cues are shares, and logarithms of counts. Of 0, .05, .1, .2 and .4 it explained
most out of fold on bfcl, gsm8k, mmlu and zeroeval together."""


@dataclass(frozen=True, slots=True)
class FittedLinear:
    """int8 tables for n-grams with one scale a component; dense weights for cues and embedding.

    Attributes:
        word, character: int8 [buckets, r].
        word_scale, character_scale: float32 [r].
        cues: float32 [r, CUES].
        cue_least, cue_most: float32 [CUES], of the rows fitted on: a cue beyond them counts as at them.
        embedding: float32 [r, 256].
        intercept: float32 [r].
    """

    word: npt.NDArray[np.int8]
    character: npt.NDArray[np.int8]
    word_scale: npt.NDArray[np.float32]
    character_scale: npt.NDArray[np.float32]
    cues: npt.NDArray[np.float32]
    cue_least: npt.NDArray[np.float32]
    cue_most: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    kind: str = "linear"

    def predict(self, features: FeatureTable) -> Matrix:
        """Components [n, r]."""
        word = _block(features, len(self.word), characters=False) @ self.word.astype(np.float64)
        character = _block(features, len(self.character), characters=True) @ self.character.astype(np.float64)
        cues = np.clip(features.cues, self.cue_least, self.cue_most).astype(np.float64)
        return np.asarray(
            self.intercept
            + word * self.word_scale
            + character * self.character_scale
            + cues @ self.cues.T
            + unit_embedding(features).astype(np.float64) @ self.embedding.T
        )

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names."""
        names = ("word", "character", "word_scale", "character_scale", "cues", "cue_least", "cue_most")
        return {name: getattr(self, name) for name in (*names, "embedding", "intercept")}


def _block(features: FeatureTable, buckets: int, *, characters: bool) -> Any:
    """Presence of n-grams of one sort, folded to ``buckets`` and divided by √(number in the row).

    CSR [n, buckets].
    """
    rows = np.repeat(np.arange(len(features)), np.diff(features.ngram_offsets))
    mask = (features.ngrams >= _core.CHAR_BASE) == characters
    rows, columns = rows[mask], features.ngrams[mask].astype(np.int64) & (buckets - 1)
    count = np.maximum(np.bincount(rows, minlength=len(features)), 1)
    values = 1.0 / np.sqrt(count)[rows]
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(features), buckets))


def _conjugate_gradients(times: Callable[[Matrix], Matrix], right: Matrix) -> Matrix:
    """Solves A X = ``right`` [n, r] for a positive definite A given as a product, to relative residuals of 1e-4.

    int8 tables keep two digits of what comes of it. Columns are solved side by side: each has its own steps, and
    one pass over the sparse rows serves all.
    """
    solution, most = np.zeros_like(right), 500
    residual = right.copy()
    direction = residual.copy()
    square = np.einsum("nr,nr->r", residual, residual)
    goal = 1e-8 * square
    for _ in range(most):
        moving = square > goal
        if not moving.any():
            break
        product = times(direction)
        curvature = np.einsum("nr,nr->r", direction, product)
        step = np.divide(square, curvature, out=np.zeros_like(square), where=moving)
        solution += step * direction
        residual -= step * product
        last, square = square, np.einsum("nr,nr->r", residual, residual)
        direction = residual + np.divide(square, last, out=np.zeros_like(square), where=moving) * direction
    return solution


@dataclass(frozen=True, slots=True)
class Linear:
    """Ridge in its dual form, solved by conjugate gradients: no matrix of rows by rows or of buckets is built.

    Attributes:
        bits: an n-gram table has at most 2**bits rows, and at most 2**(bits + 2) weights: with many components
            fewer rows hold it (at 2**13 nothing was lost on a table of 15 models).
        ridge: penalty per row, relative to the mean squared length of a row.
        cue_share, ngram_share, embedding_share: parts of that length each block gets. Cues and embedding are what
            the other backends know already: n-grams four times as long were best for the stack on six tables.
    """

    name: str = "linear"
    bits: int = 15
    ridge: float = 0.06
    cue_share: float = 1.0
    ngram_share: float = 4.0
    embedding_share: float = 1.0

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedLinear:
        """Solves (X Xᵀ + ridge·W⁻¹) a = Y, weights = Xᵀ a; inverse document frequency scales the n-grams."""
        del seed  # nothing here is random
        n = len(features)
        mean = features.cues.mean(0).astype(np.float64)
        deviation = features.cues.std(0).astype(np.float64)
        inverse = np.where(deviation > 1e-6, 1 / np.maximum(deviation, _SMALLEST_DEVIATION), 0.0)
        standard = (features.cues - mean) * inverse
        cue_factor = np.sqrt(self.cue_share / max(1, int((inverse > 0).sum())))
        unit = unit_embedding(features).astype(np.float64)
        centre = unit.mean(0)
        buckets = 1 << (self.bits - max(0, math.ceil(math.log2(targets.components.shape[1])) - 2))
        blocks, frequencies = [], []
        for characters in (False, True):
            block = _block(features, buckets, characters=characters)
            seen = np.bincount(block.indices, minlength=block.shape[1])
            frequency = np.log((1 + n) / (1 + seen)) + 1
            frequency[seen < 2] = 0  # once-seen n-grams only memorise their row
            scaled = block.data * frequency[block.indices]
            length = np.sqrt(max(float(scaled @ scaled) / n, 1e-12))
            factor = frequency * np.sqrt(self.ngram_share / 2) / length
            block.data *= factor[block.indices]
            blocks.append(block)
            frequencies.append(factor)
        embedding_factor = np.sqrt(self.embedding_share)
        dense = np.hstack([cue_factor * standard, embedding_factor * (unit - centre)])
        weight = targets.weight / targets.weight.mean()
        intercept = weight @ targets.components / weight.sum()
        penalty = (self.ridge * n / weight)[:, None]

        def gram_times(vectors: Matrix) -> Matrix:
            product: Matrix = penalty * vectors + dense @ (dense.T @ vectors)
            for block in blocks:
                product += block @ (block.T @ vectors)
            return product

        dual = _conjugate_gradients(gram_times, targets.components - intercept)
        word, word_scale = quantise(frequencies[0][:, None] * (blocks[0].T @ dual))
        character, character_scale = quantise(frequencies[1][:, None] * (blocks[1].T @ dual))
        cues = (cue_factor**2 * (standard.T @ dual)) * inverse[:, None]
        embedding = embedding_factor**2 * ((unit - centre).T @ dual)
        return FittedLinear(
            word=word,
            character=character,
            word_scale=word_scale,
            character_scale=character_scale,
            cues=np.ascontiguousarray(cues.T, np.float32),
            cue_least=features.cues.min(0),
            cue_most=features.cues.max(0),
            embedding=np.ascontiguousarray(embedding.T, np.float32),
            intercept=(intercept - mean @ cues - centre @ embedding).astype(np.float32),
        )
