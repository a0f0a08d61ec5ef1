"""Exact nearest rows of a matrix, by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer._core import Vectors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Rows asked for beyond k, to see whether the k-th ties with others.
_MORE = 4


class Index:
    """Embeddings in one matrix that grows: float32, with an int8 copy that finds who may be among the nearest.

    Rows are numbered from 0 without gaps: removing one moves the last into its place.
    """

    def __init__(self, dimension: int) -> None:
        self._vectors = Vectors(dimension, "indexed")
        self.dimension = dimension

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, embeddings: npt.NDArray[np.float32]) -> None:
        """Appends rows, float32 [n, dimension]."""
        self._vectors.append(embeddings)

    def update(self, row: int, embedding: npt.NDArray[np.float32]) -> None:
        """Replaces one row."""
        self._vectors.replace(row, embedding)

    def remove(self, row: int) -> None:
        """Removes a row; the last one takes its number."""
        self._vectors.swap_remove(row)

    def search(
        self, query: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> list[tuple[int, float]]:
        """(row, 1 - cosine in [0, 2]) of the nearest rows, nearest first.

        The engine breaks ties by row, which says nothing to a user: all rows that tie with the k-th are returned.
        Equal rows have equal distances, wherever they stand.

        Args:
            query: what to look near, float32 [dimension].
            k: how many, 1 or more.
            allowed: bool [len(self)], rows that may be returned; None for all.
        """
        flags = None if allowed is None else allowed.tobytes()
        asked = min(k, len(self)) + _MORE
        while True:
            found = self._vectors.nearest(query, asked, flags)
            if len(found) < asked or found[-1][1] < found[k - 1][1]:
                return [(row, 1.0 - cosine) for row, cosine in found]
            asked *= 2
