"""Parameters to tensors: float32, int8 or int4 with one scale an output channel, dense or sparse.

Symmetric quantisation as in Jacob et al. 2018 (arXiv:1712.05877) and Krishnamoorthi 2018 (arXiv:1806.08342):
weights per output channel (row), inputs by one static scale from calibration samples. int4 weights are trained
through the rounding (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import TrainingError
from tiny_dancer.training.fastgrnn import reference
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp
from tiny_dancer.training.fastgrnn.integers import LARGEST, Form, pack, to_integers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Activation, Array, Parameters

    Floats: TypeAlias = npt.NDArray[np.float32]
    Tensors: TypeAlias = dict[str, npt.NDArray[Any]]

MOST_SAMPLES = 1000
"""Sequences that activation scales are calibrated on."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Size of one integer step of what each matrix multiplies; None leaves that input in floating point.

    Attributes:
        by_matrix: `input_weight`, `recurrent_weight`, `head`, and where they are factored
            `input_weight.left` and `recurrent_weight.left` as well.
    """

    by_matrix: Mapping[str, float]


def fake_quantise(weight: Any, form: Form) -> Any:
    """The weight as its integers say it, with the gradient of the weight itself (straight-through)."""
    if isinstance(weight, dict):
        return {name: fake_quantise(each, form) for name, each in weight.items()}
    most = LARGEST[form]
    scale = jnp.maximum(jnp.abs(weight).max(axis=1, keepdims=True), 1e-12) / most
    rounded = jnp.clip(jnp.round(weight / scale), -most, most) * scale
    return weight + jax.lax.stop_gradient(rounded - weight)


def with_fake_quantisation(model: Parameters, form: Form) -> Parameters:
    """The model as ``form`` will hold it (the head in int8), for quantisation-aware training."""
    return {
        **model,
        "input_weight": fake_quantise(model["input_weight"], form),
        "recurrent_weight": fake_quantise(model["recurrent_weight"], form),
        "head": {**model["head"], "weight": fake_quantise(model["head"]["weight"], "int8")},
    }


def calibrate(
    model: Parameters, x: Floats, length: npt.NDArray[np.int64], kind: Activation, input_step: float | None = None
) -> Scales:
    """Static scales: the largest magnitude of each matrix's input over the samples, ÷ 127.

    Args:
        model: the parameters.
        x: inputs [n, steps, D] of 100 to 1,000 sequences (all of them where there are fewer).
        length: steps of each.
        kind: which activations.
        input_step: of inputs that are whole multiples of it already (rows of the static encoder): exact.
    """
    if not len(x):
        raise TrainingError("calibration", "no samples", "give at least one sequence")
    chosen = np.linspace(0, len(x) - 1, min(len(x), MOST_SAMPLES)).astype(np.int64)
    x, length = x[chosen], length[chosen]
    inside = (np.arange(x.shape[1]) < length[:, None])[..., None]
    read = reference.Cell.read(cell_tensors(model, "cell", "f32", kind), "cell", x.shape[2])
    h = np.zeros((len(x), len(read.gate_bias)), np.float32)
    largest = {"input_weight": _largest(x * inside), "recurrent_weight": 0.0}
    for at in range(x.shape[1]):
        # What the left of two factors multiplies is the product of the right one.
        for name, factors, now in (
            ("input_weight", read.input_weight, x[:, at]),
            ("recurrent_weight", read.recurrent_weight, h),
        ):
            if len(factors) == 2:
                key = f"{name}.left"
                largest[key] = max(largest.get(key, 0.0), _largest(factors[0].times(now) * inside[:, at]))
        h = np.where(inside[:, at], read.step(x[:, at], h), h)
        largest["recurrent_weight"] = max(largest["recurrent_weight"], _largest(h))
    largest["head"] = largest["recurrent_weight"]
    scales = {name: value / 127 if value > 0 else 1.0 for name, value in largest.items()}
    if input_step is not None:
        scales["input_weight"] = input_step
    return Scales(scales)


def _largest(values: Array) -> float:
    return float(np.abs(np.asarray(values)).max(initial=0.0))


def cell_tensors(
    model: Parameters,
    prefix: str,
    form: Form,
    kind: Activation,
    scales: Scales | None = None,
    *,
    sparse: bool = False,
) -> Tensors:
    """A cell's tensors by the engine's names, under ``prefix``; without ``scales`` activations stay float32."""
    tensors: Tensors = {
        f"{prefix}.{name}": np.asarray(model[name], np.float32)
        for name in ("zeta", "nu", "gate_bias", "update_bias")
    }
    tensors[f"{prefix}.activation"] = np.array([0 if kind == "exact" else 1], np.uint8)
    for name in ("input_weight", "recurrent_weight"):
        weight = model[name]
        steps = {} if scales is None else scales.by_matrix
        if not isinstance(weight, dict):
            tensors |= matrix_tensors(f"{prefix}.{name}", weight, form, steps.get(name), sparse=sparse)
            continue
        rank = weight["right"].shape[0]
        tensors[f"{prefix}.{name}.rank"] = np.array([rank], np.uint16)
        for factor, key in (("right", name), ("left", f"{name}.left")):
            full = f"{prefix}.{name}.{factor}"
            tensors |= matrix_tensors(full, weight[factor], form, steps.get(key), sparse=sparse)
    return tensors


def head_tensors(model: Parameters, prefix: str, form: Form, scales: Scales | None = None) -> Tensors:
    """The linear head's tensors; int4 cells keep an int8 head, which is where rounding would cost most."""
    step = None if scales is None else scales.by_matrix["head"]
    weight = matrix_tensors(f"{prefix}.weight", model["head"]["weight"], "f32" if form == "f32" else "int8", step)
    return {**weight, f"{prefix}.bias": np.asarray(model["head"]["bias"], np.float32)}


def matrix_tensors(name: str, weight: Array, form: Form, step: float | None, *, sparse: bool = False) -> Tensors:
    """One matrix [rows, columns] in one of the forms; ``step`` is the size of one integer step of its input.

    A sparse matrix holds values, columns and counts of its non-zero weights, in float32 or int8.
    """
    dense = np.asarray(weight, np.float32)
    if not np.isfinite(dense).all():
        raise TrainingError(name, "a weight that is not finite", "lower the learning rate")
    tensors: Tensors = {}
    held: npt.NDArray[Any] = dense
    if form != "f32":
        # Sparse weights take a byte each beside their column: int4 would save nothing there.
        held, scale = to_integers(dense, "int8" if sparse else form)
        tensors[f"{name}.scale"] = scale
        if step is not None:
            tensors[f"{name}.input_scale"] = np.array([step], np.float32)
    if sparse:
        present = held != 0
        tensors[f"{name}.values"] = held[present]
        tensors[f"{name}.columns"] = np.nonzero(present)[1].astype(np.uint16)
        tensors[f"{name}.counts"] = present.sum(1).astype(np.uint16)
    else:
        tensors[name] = pack(held) if form == "int4" else np.ascontiguousarray(held)
    return tensors
