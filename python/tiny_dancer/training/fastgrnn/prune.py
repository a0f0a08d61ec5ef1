"""Progressive magnitude pruning: Zhu and Gupta 2017, arXiv:1710.01878."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.fastgrnn.gradients import jax

if TYPE_CHECKING:
    from tiny_dancer.training.fastgrnn.cell import Parameters

PRUNED = ("input_weight", "recurrent_weight")


def sparsity_at(epoch: int, epochs: int, final: float) -> float:
    """s_f (1 − (1 − t/T)³), the schedule of Zhu and Gupta (equation 1) from no zeros at all.

    It prunes fast while much can go and slowly towards the end: ``final`` from epoch ``epochs`` − 1 on.
    """
    done = min(1.0, (epoch + 1) / epochs)
    return final * (1 - (1 - done) ** 3)


def magnitude_mask(weight: Any, sparsity: float) -> Any:
    """1 where a weight is among the largest (1 − sparsity) by magnitude in its matrix, else 0; same shape."""
    if isinstance(weight, dict):
        return {name: magnitude_mask(each, sparsity) for name, each in weight.items()}
    flat = np.abs(np.asarray(weight)).ravel()
    zeros = round(sparsity * flat.size)
    mask = np.ones(flat.size, np.float32)
    # Stable: equal weights go in order of place, so that the same model always gives the same mask.
    mask[np.argsort(flat, kind="stable")[:zeros]] = 0
    return mask.reshape(np.shape(weight))


def masks(model: Parameters, epoch: int, *, epochs: int, final: float) -> Parameters:
    """0/1 arrays for every parameter: W and U by the schedule, the rest all 1.

    A weight that is 0 stays the smallest there is, so none comes back. From epoch ``epochs`` on the support stays
    as it is and what is left is tuned.
    """
    result = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), np.float32), model)
    sparsity = sparsity_at(epoch, epochs, final)
    for name in PRUNED:
        result[name] = magnitude_mask(model[name], sparsity) if epoch < epochs else support(model[name])
    return dict(result)


def support(weight: Any) -> Any:
    """1 where the weight is not 0."""
    return jax.tree.map(lambda each: (np.asarray(each) != 0).astype(np.float32), weight)


def share_of_zeros(model: Parameters) -> float:
    """Of W and U."""
    leaves = [np.asarray(leaf) for name in PRUNED for leaf in jax.tree.leaves(model[name])]
    return float(sum((leaf == 0).sum() for leaf in leaves) / sum(leaf.size for leaf in leaves))
