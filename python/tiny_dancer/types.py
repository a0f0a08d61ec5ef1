"""The nouns that cross rooms: frozen dataclasses over numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Engine features of n requests; holds no text.

    Attributes:
        ngram_offsets: int64 [n + 1]; row i owns ``ngrams[ngram_offsets[i]:ngram_offsets[i + 1]]``.
        ngrams: uint32, sorted and unique within a row; below ``CHAR_BASE`` (2**17) a hashed word
            1- or 2-gram, from there on a hashed character 3- or 4-gram.
        cues: float32 [n, number of cues].
        embedding: int8 [n, 256], the pooled static embedding up to a positive factor; all zero where
            the text has no known token.
        tokens: int32 [n], word pieces in the request (prices and context windows use it).
    """

    ngram_offsets: npt.NDArray[np.int64]
    ngrams: npt.NDArray[np.uint32]
    cues: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.int8]
    tokens: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: npt.NDArray[np.int64]) -> FeatureTable:
        """Features of the rows at ``index``, in that order."""
        lengths = np.diff(self.ngram_offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Position within the row, shifted to where the row starts in the old layout.
        places = np.arange(offsets[-1]) + np.repeat(self.ngram_offsets[index] - offsets[:-1], lengths)
        return FeatureTable(
            offsets, self.ngrams[places], self.cues[index], self.embedding[index], self.tokens[index]
        )


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each model scored on each request.

    Attributes:
        sample_id: n strings, unique.
        task: n strings (``eval_name``; empty where unknown).
        models: m names, in column order.
        quality: float64 [n, m] in [0, 1]; NaN where not observed.
        cost: float64 [n, m] USD, NaN where missing; None when the table has no costs.
        latency: float64 [n, m] seconds, NaN where missing; None when the table has none.
        weight: float64 [n], positive.
        group: int64 [n]; rows of one group are never split apart.
        prompt: n texts, or None for a featurised table.
        tools: n JSON texts (or None per row), or None when no row has tools.
        messages: n JSON texts (or None per row), or None when no row has chat messages.
        features: the engine's features; None until featurised.
    """

    sample_id: tuple[str, ...]
    task: tuple[str, ...]
    models: tuple[str, ...]
    quality: npt.NDArray[np.float64]
    cost: npt.NDArray[np.float64] | None
    latency: npt.NDArray[np.float64] | None
    weight: npt.NDArray[np.float64]
    group: npt.NDArray[np.int64]
    prompt: tuple[str, ...] | None = None
    tools: tuple[str | None, ...] | None = None
    messages: tuple[str | None, ...] | None = None
    features: FeatureTable | None = None

    def __len__(self) -> int:
        return len(self.sample_id)

    def rows(self, index: npt.NDArray[np.int64]) -> Outcomes:
        """Outcomes of the rows at ``index``, in that order."""

        def texts(values: tuple[str | None, ...] | None) -> tuple[str | None, ...] | None:
            return None if values is None else tuple(values[i] for i in index)

        return replace(
            self,
            sample_id=tuple(self.sample_id[i] for i in index),
            task=tuple(self.task[i] for i in index),
            quality=self.quality[index],
            cost=None if self.cost is None else self.cost[index],
            latency=None if self.latency is None else self.latency[index],
            weight=self.weight[index],
            group=self.group[index],
            prompt=None if self.prompt is None else tuple(self.prompt[i] for i in index),
            tools=texts(self.tools),
            messages=texts(self.messages),
            features=None if self.features is None else self.features.rows(index),
        )
