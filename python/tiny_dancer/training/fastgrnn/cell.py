"""The cell of Kusupati et al. 2018 (arXiv:1901.02358, equations 3 and 4), for gradients.

    z  = σ(W x + U h + b_z)                       gate
    c  = tanh(W x + U h + b_h)                    update
    h' = (σ(ζ)(1 − z) + σ(ν)) ⊙ c + z ⊙ h         new state, h₀ = 0

One W and one U serve gate and update. Either may be a product of two factors (low rank). A model is a dictionary
of arrays (a pytree), named as in an artifact without the prefixes: `input_weight` [H, D] and `recurrent_weight`
[H, H] (or {`left` [H, r], `right` [r, columns]}), `gate_bias`, `update_bias` [H], `zeta`, `nu` [1], and
`head` = {`weight` [L, H], `bias` [L]}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp

if TYPE_CHECKING:
    from typing import TypeAlias

Array: TypeAlias = Any
"""A jax array."""
Parameters: TypeAlias = dict[str, Any]
Activation: TypeAlias = Literal["exact", "piecewise"]

ZETA, NU = 1.0, -4.0
"""Where ζ and ν start, before the sigmoid (the authors' EdgeML code)."""


def _piecewise_sigmoid(x: Array) -> Array:
    return jnp.clip((x + 1) / 2, 0, 1)


def _piecewise_tanh(x: Array) -> Array:
    return jnp.clip(x, -1, 1)


def activations(kind: Activation) -> tuple[Any, Any]:
    """σ and tanh: exact, or the paper's piecewise-linear pair (section 3.2.2) that integers compute cheaply."""
    if kind == "exact":
        return jax.nn.sigmoid, jnp.tanh
    return _piecewise_sigmoid, _piecewise_tanh


def product(weight: Any, x: Array) -> Array:
    """Wx for rows x [..., columns]; through the factors where the matrix is low rank."""
    if isinstance(weight, dict):
        return (x @ weight["right"].T) @ weight["left"].T
    return x @ weight.T


def step(model: Parameters, projected: Array, h: Array, kind: Activation) -> Array:
    """One step: ``projected`` = Wx [n, H] and h [n, H] to h' [n, H]."""
    sigma, tanh = activations(kind)
    pre = projected + product(model["recurrent_weight"], h)
    z = sigma(pre + model["gate_bias"])
    c = tanh(pre + model["update_bias"])
    zeta, nu = jax.nn.sigmoid(model["zeta"]), jax.nn.sigmoid(model["nu"])
    return (zeta * (1 - z) + nu) * c + z * h


def last_state(model: Parameters, x: Array, length: Array, kind: Activation) -> Array:
    """State after the last step of each sequence, [n, H].

    Args:
        model: the parameters.
        x: inputs [n, steps, D], padded behind.
        length: steps of each sequence, int [n]; 0 leaves h₀ = 0.
        kind: which activations.
    """
    projected = jnp.swapaxes(product(model["input_weight"], x), 0, 1)  # all steps at once: W does not wait for h
    start = jnp.zeros(projected.shape[1:])

    def forward(h: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        wx, at = now
        return jnp.where((at < length)[:, None], step(model, wx, h, kind), h), None

    final, _ = jax.lax.scan(forward, start, (projected, jnp.arange(len(projected))))
    return final


def logits(model: Parameters, state: Array) -> Array:
    """The linear head: [n, L] from states [n, H]."""
    return state @ model["head"]["weight"].T + model["head"]["bias"]


def matrix(generator: np.random.Generator, rows: int, columns: int, rank: int | None, gain: float = 1.0) -> Any:
    """A random matrix whose products keep the variance of what they multiply, times ``gain``²; or its factors."""

    def normal(r: int, c: int, spread: float) -> Array:
        return generator.normal(0, spread, (r, c)).astype(np.float32)

    if rank is None:
        return normal(rows, columns, gain / np.sqrt(columns))
    return {"left": normal(rows, rank, gain / np.sqrt(rank)), "right": normal(rank, columns, 1 / np.sqrt(columns))}


def new_model(dimensions: int, hidden: int, labels: int, seed: int, rank: int | None = None) -> Parameters:
    """Random parameters; ``rank`` makes W and U products of two factors."""
    generator = np.random.default_rng(seed)
    return {
        "input_weight": matrix(generator, hidden, dimensions, rank),
        "recurrent_weight": matrix(generator, hidden, hidden, rank, gain=0.5),
        "gate_bias": np.ones(
            hidden, np.float32
        ),  # z near 1 at first: the state is kept, gradients reach the first steps
        "update_bias": np.zeros(hidden, np.float32),
        "zeta": np.full(1, ZETA, np.float32),
        "nu": np.full(1, NU, np.float32),
        "head": {
            "weight": matrix(generator, labels, hidden, None, gain=0.5),
            "bias": np.zeros(labels, np.float32),
        },
    }
