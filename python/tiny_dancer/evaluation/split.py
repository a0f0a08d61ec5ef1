"""Splits that keep groups whole."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError

if TYPE_CHECKING:
    import numpy.typing as npt


def grouped_folds(group: npt.NDArray[np.int64], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """One fold number in [0, n_folds) per row; a group lies in one fold.

    Groups are shuffled by the seed, and placed largest first into the smallest fold, so that
    folds differ by no more than the smallest groups allow. The same arguments give the same folds.

    Raises:
        OptionError: fewer than 2 folds.
        DataError: fewer groups than folds.
    """
    if n_folds < 2:
        raise OptionError("n_folds", n_folds, "use at least 2 folds")
    numbers, inverse, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(numbers) < n_folds:
        raise DataError(
            "group",
            f"{len(numbers)} groups for {n_folds} folds",
            "add rows of other groups, or use fewer folds",
        )
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(len(numbers))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    heap = [(0, fold) for fold in range(n_folds)]
    fold_of_group = np.empty(len(numbers), np.int64)
    for index in order:
        rows, fold = heapq.heappop(heap)
        fold_of_group[index] = fold
        heapq.heappush(heap, (rows + int(sizes[index]), fold))
    return fold_of_group[inverse]
