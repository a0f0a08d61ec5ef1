"""What is usual of decisions on the rows a certificate was earned on: what a watch compares a stream with.

Three numbers of each decision are kept as counts between at most 32 knots: the highest quality expected of any
model, the gain of the best other model over the best constant, and the confidence. Knots come from a quarter of
the rows (of many, from 128), counts from the others: ranks among counts are then exactly those of exchangeable
numbers, whatever the knots (the engine's ``likeness/shift.rs``). Rows that are kin count as one, as in the
certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.routing import Router
from tiny_dancer.training.likeness import FEWEST_GROUPS

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Floats = npt.NDArray[np.float64]

_MOST_KNOT_ROWS = 128


def with_drift(artifact: bytes, features: FeatureTable, group: npt.NDArray[np.int64], seed: int = 0) -> bytes:
    """The artifact with what is usual on these rows; without any where they are too few groups, or None.

    Args:
        artifact: the file's bytes, under the policy that is certified.
        features: of n rows it was not trained on.
        group: int64 [n], rows that are kin.
        seed: of which row stands for a group, and of what it is used for.
    """
    bare = without_drift(artifact)
    order = np.random.default_rng(seed).permutation(len(features))
    _, first = np.unique(group[order], return_index=True)
    if len(first) < FEWEST_GROUPS:
        return bare
    rows = order[np.random.default_rng(seed + 1).permutation(first)]
    # Under another policy its self-checks are still to be recorded.
    router = Router(_core.with_header(bare, {**_core.read_header(bare), "self_check": []}))
    batch = router.route_features(features.rows(rows))
    best: int = router.header["best_constant"]
    columns = {
        "quality": batch.scores.max(axis=1),
        "gain": np.delete(batch.scores, best, axis=1).max(axis=1, initial=-np.inf) - batch.scores[:, best],
        "confidence": batch.confidence,
    }
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, values in columns.items():
        knots, counts = usual(np.asarray(values, np.float32))
        tensors[f"drift.{name}.knots"], tensors[f"drift.{name}.counts"] = knots, counts
    mix = np.bincount(batch.choice, minlength=len(router.models))
    header = {**_core.read_header(bare), "drift": {"rows": len(rows) - knot_rows(len(rows)), "mix": mix.tolist()}}
    return _core.artifact_bytes(header, _core.read_tensors(bare) | tensors)


def knot_rows(rows: int) -> int:
    """How many of the rows knots are taken from."""
    return min(rows // 4, _MOST_KNOT_ROWS)


def usual(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Knots [k] at equal shares of the first of the values, and counts [k + 1] of the others."""
    few, finite = knot_rows(len(values)), np.isfinite(values)
    first, rest = values[:few][finite[:few]], values[few:][finite[few:]]
    if not len(first):
        return np.zeros(1, np.float32), np.zeros(2, np.float32)
    shares = np.arange(1, _core.MOST_KNOTS + 1) / (_core.MOST_KNOTS + 1)
    knots = np.unique(np.quantile(first, shares, method="inverted_cdf").astype(np.float32))
    counts = np.bincount(np.searchsorted(knots, rest, side="left"), minlength=len(knots) + 1)
    return knots, counts.astype(np.float32)


def without_drift(artifact: bytes) -> bytes:
    """The artifact without anything usual: what is expected, or chosen, has become something else."""
    header = _core.read_header(artifact)
    if "drift" not in header:
        return artifact
    del header["drift"]
    tensors = {name: each for name, each in _core.read_tensors(artifact).items() if not name.startswith("drift.")}
    return _core.artifact_bytes(header, tensors)
