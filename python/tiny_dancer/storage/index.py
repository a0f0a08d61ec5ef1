"""Exact nearest rows of a matrix. The one place that multiplies: another engine goes in here.

A product over all rows in float32 finds who may be among the nearest, within the bound on its rounding; those few
are computed again in float64, each by itself. So the answer is exact, and equal embeddings have equal distances
wherever they stand in the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Number = TypeVar("Number", np.float32, np.float64)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows near a query, in no order; all that tie with the k-th are among them.

    Attributes:
        rows: int64 [found], found >= k where there are as many.
        distances: float64 [found], 1 - cosine in [0, 2].
    """

    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]


# Rows converted to float64 at a time: 12 MB at 384 numbers.
_AT_ONCE = 4096


def norms_of(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64 [n], the norm of each row of ``matrix`` [n, d]."""
    norms = np.empty(len(matrix))
    for start in range(0, len(matrix), _AT_ONCE):
        wide = matrix[start : start + _AT_ONCE].astype(np.float64)
        norms[start : start + _AT_ONCE] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return norms


def cosine_distances(
    matrix: npt.NDArray[np.float32], norms: npt.NDArray[np.float64], query: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """float64 [n], 1 - cosine of each row of ``matrix`` [n, d] (and its norm) with ``query`` [d] of norm 1."""
    # Neither a matrix product nor a conversion within einsum: their order of summation depends on which rows stand
    # beside one, and equal rows have to be at equal distances.
    products = np.einsum("ij,j->i", matrix.astype(np.float64), query.astype(np.float64))
    distances = np.asarray(1.0 - products / norms, np.float64)
    np.maximum(distances, 0.0, out=distances)
    np.minimum(distances, 2.0, out=distances)
    return distances


class Index:
    """Embeddings in one contiguous matrix that grows by doubling.

    Rows are numbered from 0 without gaps: removing one moves the last into its place.
    """

    def __init__(self, dimension: int) -> None:
        self._matrix = np.empty((0, dimension), np.float32)
        self._norms = np.empty(0)
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
        return int(self._matrix.shape[1])

    def add(self, embeddings: npt.NDArray[np.float32]) -> None:
        """Appends rows, float32 [n, dimension]."""
        needed = self._count + len(embeddings)
        if needed > len(self._matrix):
            room = max(needed, 2 * len(self._matrix))
            # One after the other, and the old rows only: at most one array lives beside the one it replaces.
            self._matrix = _grown(self._matrix, self._count, room)
            self._norms = _grown(self._norms, self._count, room)
            self._inverse_norms = _grown(self._inverse_norms, self._count, room)
        self._set(slice(self._count, needed), embeddings)
        self._count = needed

    def update(self, row: int, embedding: npt.NDArray[np.float32]) -> None:
        """Replaces one row."""
        self._set(slice(row, row + 1), embedding[None])

    def _set(self, rows: slice, embeddings: npt.NDArray[np.float32]) -> None:
        self._matrix[rows] = embeddings
        self._norms[rows] = norms_of(embeddings)
        self._inverse_norms[rows] = 1.0 / self._norms[rows]

    def remove(self, row: int) -> None:
        """Removes a row; the last one takes its number."""
        self._count -= 1
        self._matrix[row] = self._matrix[self._count]
        self._norms[row] = self._norms[self._count]
        self._inverse_norms[row] = self._inverse_norms[self._count]

    def embedding(self, row: int) -> npt.NDArray[np.float32]:
        """A copy of one row, float32 [dimension]."""
        return np.array(self._matrix[row])

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
        return Nearest(found, cosine_distances(matrix[found], self._norms[found], query))


def _grown(array: npt.NDArray[Number], count: int, room: int) -> npt.NDArray[Number]:
    """A longer array that starts with the first ``count`` rows."""
    grown = np.empty((room, *array.shape[1:]), array.dtype)
    grown[:count] = array[:count]
    return grown
