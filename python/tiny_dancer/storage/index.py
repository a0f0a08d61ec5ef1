"""Exact nearest rows of a matrix. The one place that multiplies: another engine goes in here.

A product over all rows in float32 finds who may be among the nearest, within the bound on its rounding; those few are
computed again in float64, each by itself. So the answer is exact, and equal embeddings have equal distances wherever
they stand in the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows near a query, in no order; all that tie with the k-th are among them.

    Attributes:
        rows: int64 [found], found >= k where there are as many.
        distances: float64 [found], 1 - cosine in [0, 2].
    """

    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]


def cosine_distances(matrix: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64 [n], 1 - cosine of each row of ``matrix`` [n, d] with ``query`` [d], whatever rows stand beside it."""
    wide, direction = matrix.astype(np.float64), query.astype(np.float64)
    # Not a matrix product: its order of summation depends on where in the matrix a row stands.
    products = (wide * direction).sum(axis=1)
    norms = np.sqrt((wide * wide).sum(axis=1) * (direction * direction).sum())
    return np.asarray(np.clip(1.0 - products / norms, 0.0, 2.0), np.float64)


class Index:
    """Embeddings in one contiguous matrix that grows by doubling.

    Rows are numbered from 0 without gaps: removing one moves the last into its place.
    """

    def __init__(self, dimension: int) -> None:
        self._matrix = np.empty((0, dimension), np.float32)
        self._inverse_norms = np.empty(0, np.float32)
        self._count = 0
        # Rounding of a dot product of d terms is at most d * 2**-24 relative to the norms (Higham 2002, eq. 3.5);
        # four more for scaling query and product; twice, for two rows may err in opposite directions.
        self._slack = 2 * (dimension + 4) * 2.0**-24

    def __len__(self) -> int:
        return self._count

    @property
    def dimension(self) -> int:
        """Numbers per row."""
        return self._matrix.shape[1]

    def add(self, embeddings: npt.NDArray[np.float32]) -> None:
        """Appends rows, float32 [n, dimension]."""
        needed = self._count + len(embeddings)
        if needed > len(self._matrix):
            room = max(needed, 2 * len(self._matrix))
            # One at a time, and the old rows only: at most one matrix lives beside the one it replaces.
            grown = np.empty((room, self.dimension), np.float32)
            grown[: self._count] = self._matrix[: self._count]
            self._matrix = grown
            self._inverse_norms = np.concatenate(
                [self._inverse_norms[: self._count], np.empty(room - self._count, np.float32)]
            )
        self._matrix[self._count : needed] = embeddings
        self._inverse_norms[self._count : needed] = _inverse_norms(embeddings)
        self._count = needed

    def update(self, row: int, embedding: npt.NDArray[np.float32]) -> None:
        """Replaces one row."""
        self._matrix[row] = embedding
        self._inverse_norms[row] = _inverse_norms(embedding[None])[0]

    def remove(self, row: int) -> None:
        """Removes a row; the last one takes its number."""
        self._count -= 1
        self._matrix[row] = self._matrix[self._count]
        self._inverse_norms[row] = self._inverse_norms[self._count]

    def embedding(self, row: int) -> npt.NDArray[np.float32]:
        """A copy of one row, float32 [dimension]."""
        return self._matrix[row].copy()

    def search(
        self, query: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> Nearest:
        """Rows nearest to ``query`` (float32 [dimension], norm 1).

        Args:
            query: what to look near.
            k: how many, 1 or more.
            allowed: bool [len(self)], rows that may be returned; None for all.
        """
        matrix, scale = self._matrix[: self._count], self._inverse_norms[: self._count]
        if allowed is None:
            rows, similar = None, (matrix @ query) * scale
        else:
            rows = np.flatnonzero(allowed)
            # Copying rows out costs about three times what multiplying them does.
            if 4 * len(rows) < self._count:
                similar = (matrix[rows] @ query) * scale[rows]
            else:
                similar = ((matrix @ query) * scale)[rows]
        if k < len(similar):
            threshold = np.partition(similar, len(similar) - k)[len(similar) - k] - self._slack
            near = np.flatnonzero(similar >= threshold)
        else:
            near = np.arange(len(similar))
        found = near if rows is None else rows[near]
        return Nearest(found, cosine_distances(matrix[found], query))


def _inverse_norms(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    wide = embeddings.astype(np.float64)
    return (1.0 / np.sqrt((wide * wide).sum(axis=1))).astype(np.float32)
