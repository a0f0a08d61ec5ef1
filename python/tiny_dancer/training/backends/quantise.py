"""int8 weights with one scale a component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Matrix


def quantise(table: Matrix) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """A table [rows, r] as int8 in ±127 and float32 scales [r]: ``table ≈ int8 · scale``.

    What it costs in accuracy is measured by ``benchmarks/quality/bench_int8.py``.
    """
    scale = np.maximum(np.abs(table).max(0), 1e-12) / 127
    return np.rint(table / scale).astype(np.int8), scale.astype(np.float32)
