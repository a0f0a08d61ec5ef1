"""Teachers: bidirectional GRUs many times the student's size, whose inputs may be learned too.

Gated recurrent unit: Cho et al. 2014, arXiv:1406.1078 (with the reset gate after the product, as in cuDNN).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.training.fastgrnn import cell, losses
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp
from tiny_dancer.training.fastgrnn.optimise import Plan, optimise

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Array, Parameters
    from tiny_dancer.training.fastgrnn.checkpoint import Checkpoints
    from tiny_dancer.training.fastgrnn.data import Inputs

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_DROPOUT, _STEP_DROPOUT = 0.4, 0.15


def _new_direction(generator: np.random.Generator, dimensions: int, hidden: int) -> Parameters:
    return {
        "input": cell.matrix(generator, 3 * hidden, dimensions, None),
        "state": cell.matrix(generator, 3 * hidden, hidden, None, gain=0.7),
        "bias": np.zeros(3 * hidden, np.float32),
    }


def new_teacher(table: Floats | None, dimensions: int, hidden: int, labels: int, seed: int) -> Parameters:
    """Random parameters of one teacher; the table of inputs starts as the encoder's."""
    generator = np.random.default_rng(seed)
    return {
        **({} if table is None else {"table": table}),
        "forward": _new_direction(generator, dimensions, hidden),
        "backward": _new_direction(generator, dimensions, hidden),
        "head": {
            "weight": cell.matrix(generator, labels, 6 * hidden, None, gain=0.5),
            "bias": np.zeros(labels, np.float32),
        },
    }


def _states(direction: Parameters, x: Array, length: Array, *, reverse: bool) -> tuple[Array, Array]:
    """GRU states: the final one [n, H] and all [steps, n, H]; padded steps leave the state as it is."""
    projected = jnp.swapaxes(x @ direction["input"].T + direction["bias"], 0, 1)
    hidden = projected.shape[2] // 3

    def step(h: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        wx, at = now
        xr, xz, xn = jnp.split(wx, 3, axis=-1)
        hr, hz, hn = jnp.split(h @ direction["state"].T, 3, axis=-1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        following = (1 - z) * jnp.tanh(xn + r * hn) + z * h
        h = jnp.where((at < length)[:, None], following, h)
        return h, h

    start = jnp.zeros((x.shape[0], hidden))
    final, states = jax.lax.scan(step, start, (projected, jnp.arange(len(projected))), reverse=reverse)
    return final, states


def _features(model: Parameters, x: Array, length: Array) -> Array:
    """Final states, means and maxima of both directions: [n, 6 H]."""
    inside = (jnp.arange(x.shape[1])[:, None] < length)[..., None]
    found = []
    for name, reverse in (("forward", False), ("backward", True)):
        final, states = _states(model[name], x, length, reverse=reverse)
        mean = jnp.where(inside, states, 0).sum(0) / jnp.maximum(length, 1)[:, None]
        found += [final, mean, jnp.where(inside, states, -1).max(0)]
    return jnp.concatenate(found, axis=-1)


def _logits(model: Parameters, values: Array, length: Array, key: Array | None = None) -> Array:
    """[n, L]; with a key, steps and features are dropped at random."""
    x = model["table"][values] if "table" in model else values
    if key is None:
        return cell.logits(model, _features(model, x, length))
    steps, features = jax.random.split(key)
    x = x * jax.random.bernoulli(steps, 1 - _STEP_DROPOUT, x.shape[:2])[..., None]
    found = _features(model, x, length)
    found = found * jax.random.bernoulli(features, 1 - _DROPOUT, found.shape) / (1 - _DROPOUT)
    return cell.logits(model, found)


def teacher_logits(
    learning: tuple[Inputs, Ints],
    stopping: tuple[Inputs, Ints],
    labels: int,
    *,
    hidden: int,
    members: int,
    plan: Plan,
    seed: int,
    checkpoints: Checkpoints,
    progress: Callable[[str], None],
) -> tuple[Floats, float, int]:
    """Mean logits of an ensemble of teachers for the learning rows.

    Args:
        learning: inputs and labels to learn from.
        stopping: inputs and labels for early stopping.
        labels: L.
        hidden: of each direction of each teacher.
        members: of the ensemble; they differ in start and order.
        plan: how long and how fast.
        seed: of the first member.
        checkpoints: where state is kept.
        progress: called after each epoch.

    Returns:
        float32 [n, L] for the learning rows, the ensemble's accuracy on the stopping rows, its number of weights.
    """
    totals: Array = 0.0
    stop_total: Array = 0.0
    size = 0
    predict = jax.jit(_logits)
    stop_rows = (stopping[0].values, stopping[0].length)
    for member in range(members):
        start = new_teacher(learning[0].table, learning[0].dimensions, hidden, labels, seed + member)

        def loss(model: Parameters, batch: dict[str, Array], key: Array) -> Array:
            return losses.cross_entropy(_logits(model, batch["values"], batch["length"], key), batch["label"])

        def judge(model: Parameters) -> float:
            return float((np.asarray(predict(model, *stop_rows)).argmax(1) == stopping[1]).mean())

        rows = {"values": learning[0].values, "length": learning[0].length, "label": learning[1]}
        phase = f"teacher {member + 1}"
        learned = optimise(
            start,
            loss,
            rows,
            judge,
            plan,
            seed=seed + member,
            phase=phase,
            checkpoints=checkpoints,
            progress=progress,
        ).model
        parts = range(0, len(learning[0].values), 1024)
        found = [
            predict(learned, learning[0].values[at : at + 1024], learning[0].length[at : at + 1024])
            for at in parts
        ]
        totals = totals + np.concatenate([np.asarray(part) for part in found])
        stop_total = stop_total + np.asarray(predict(learned, *stop_rows))
        size += sum(int(np.size(leaf)) for leaf in jax.tree.leaves(learned))
    accuracy = float((np.asarray(stop_total).argmax(1) == stopping[1]).mean())
    return np.asarray(totals / members, np.float32), accuracy, size


TEACHER_PLAN = replace(Plan(), epochs=10, learning_rate=2e-3, patience=4)
