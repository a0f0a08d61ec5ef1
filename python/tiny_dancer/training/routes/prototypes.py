"""Example vectors of routes, as the engine holds and compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.routes.head import rounded_direction

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

MOST_BYTES = 400_000
"""Beyond it, a route's prototype is the mean of its vectors."""


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Prototypes of k routes.

    Attributes:
        vectors: unit vectors float32 [p, D], by rising route.
        route: of each, int [p]; every route has one.
        routes: k.
    """

    vectors: Floats
    route: Ints
    routes: int

    @classmethod
    def of(cls, vectors: Floats, label: Ints, routes: int, *, means: bool) -> Prototypes:
        """The rows' vectors, or the means of each route's. A route without rows gets a zero vector."""
        if means or len(np.unique(label)) < routes:
            sums = np.zeros((routes, vectors.shape[1]), np.float32)
            np.add.at(sums, label, vectors)
            if means:
                return cls(rounded_direction(sums), np.arange(routes), routes)
            absent = np.setdiff1d(np.arange(routes), label)
            vectors = np.concatenate([vectors, sums[absent]])
            label = np.concatenate([label, absent])
        order = np.argsort(label, kind="stable")
        return cls(rounded_direction(vectors[order]), label[order], routes)

    def likeness(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Half the highest and half the mean cosine with each route, [n, k], and the highest of all, [n]."""
        cosine = rounded_direction(vectors) @ self.vectors.T
        starts = np.searchsorted(self.route, np.arange(self.routes))
        counts = np.diff(np.append(starts, len(self.route)))
        highest = np.maximum.reduceat(cosine, starts, axis=1)
        mean = np.add.reduceat(cosine, starts, axis=1) / counts
        return ((highest + mean) / 2).astype(np.float32), cosine.max(axis=1).astype(np.float32)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """By the engine's names."""
        largest = np.abs(self.vectors).max(axis=1, keepdims=True)
        rounded = np.rint(self.vectors / np.where(largest == 0, 1, largest) * 127)
        return {"prototypes": rounded.astype(np.int8), "prototype_routes": self.route.astype("<u2")}
