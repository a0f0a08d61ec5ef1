"""One step of the cell over fixed-size inputs, to numbers: the request router's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.fastgrnn import cell, quantise
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp
from tiny_dancer.training.fastgrnn.optimise import Plan, optimise

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Array, Parameters

_STOPPING = 0.15
_INPUT_DROPOUT, _STATE_DROPOUT = 0.3, 0.2
_PLAN = Plan(epochs=40, batch=64, learning_rate=3e-3, weight_decay=0.1, patience=10, fewest_steps=500)


def fit_regressor(
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    teacher: npt.NDArray[np.float64],
    *,
    hidden: int,
    share: float,
    seed: int,
) -> dict[str, npt.NDArray[Any]]:
    """Minimises (1 − a)·‖y − f(x)‖² + a·‖teacher − f(x)‖², stopped by y on held-out rows.

    Args:
        x: [n, D].
        y: [n, r], what was observed.
        weight: [n], of the rows.
        teacher: [n, r], out-of-fold predictions of an ensemble.
        hidden: H.
        share: a, in [0, 1].
        seed: of split, start, order and noise.

    Returns:
        Tensors in the engine's format, int8 weights: the cell under `cell`, `head.weight` [r, H], `head.bias` [r].
    """
    scale = np.maximum(y.std(axis=0), 1e-9)
    rows = {
        "x": x,
        "y": (y / scale).astype(np.float32),
        "teacher": (teacher / scale).astype(np.float32),
        "weight": (weight / weight.mean()).astype(np.float32),
    }
    order = np.random.default_rng(seed).permutation(len(x))
    stopping = np.sort(order[: max(1, round(_STOPPING * len(x)))])
    learning = np.setdiff1d(order, stopping)
    held_out = {name: values[stopping] for name, values in rows.items()}

    def predict(model: Parameters, x: Array, key: Array | None = None) -> Array:
        if key is not None:
            first, second = jax.random.split(key)
            x = x * jax.random.bernoulli(first, 1 - _INPUT_DROPOUT, x.shape) / (1 - _INPUT_DROPOUT)
        projected = cell.product(model["input_weight"], x)
        state = cell.step(model, projected, jnp.zeros_like(projected), "exact")
        if key is not None:
            state = state * jax.random.bernoulli(second, 1 - _STATE_DROPOUT, state.shape) / (1 - _STATE_DROPOUT)
        return cell.logits(model, state)

    def squares(wanted: Array, given: Array, weight: Array) -> Array:
        return (weight * ((wanted - given) ** 2).sum(-1)).mean()

    def loss(model: Parameters, batch: dict[str, Array], key: Array) -> Array:
        given = predict(model, batch["x"], key)
        own = squares(batch["y"], given, batch["weight"])
        return (1 - share) * own + share * squares(batch["teacher"], given, batch["weight"])

    @jax.jit  # type: ignore[untyped-decorator]
    def held_out_loss(model: Parameters) -> Array:
        return squares(held_out["y"], predict(model, held_out["x"]), held_out["weight"])

    start = cell.new_model(x.shape[1], hidden, y.shape[1], seed)
    start["recurrent_weight"] = np.zeros((hidden, hidden), np.float32)  # a single step from h₀ = 0 does not use it
    start["gate_bias"] = np.zeros(hidden, np.float32)
    parts = {name: values[learning] for name, values in rows.items()}
    plan = _PLAN.for_rows(len(learning))
    model = optimise(start, loss, parts, lambda model: -float(held_out_loss(model)), plan, seed=seed).model
    head = {"weight": model["head"]["weight"] * scale[:, None], "bias": model["head"]["bias"] * scale}
    model = {**model, "head": head}
    # Cues and embedding differ too much in size to share one integer step: weights alone are integers.
    return quantise.cell_tensors(model, "cell", "int8", "exact") | quantise.head_tensors(model, "head", "int8")
