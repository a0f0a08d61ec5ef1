"""The exported arithmetic in numpy, as the engine does it: what a cell's tensors will give, rounding included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.fastgrnn.integers import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix read back from its tensors.

    Attributes:
        values: [rows, columns], float32 or the integers.
        scale: float32 [rows], one for each row's integers.
        step: of one integer step of the input; None multiplies floating-point inputs.
    """

    values: npt.NDArray[Any]
    scale: Floats | None
    step: np.float32 | None

    def times(self, x: Floats) -> Floats:
        """Products [n, rows] of inputs [n, columns]."""
        if self.scale is None:
            return np.asarray(x @ self.values.T, np.float32)
        if self.step is None:
            return np.asarray(x @ (self.values * self.scale[:, None]).T, np.float32)
        whole = x / self.step
        integers = np.clip(np.rint(whole), -127, 127)  # halves go to the even neighbour
        # Sums of int8 products up to 65,535 columns are exact in float64.
        total = (integers.astype(np.float64) @ self.values.T.astype(np.float64)).astype(np.float32)
        return np.asarray((self.scale * self.step) * total, np.float32)


def read_matrix(tensors: Tensors, name: str, columns: int) -> Matrix:
    """The matrix ``name`` with this many columns, whatever its form."""
    scale = tensors.get(f"{name}.scale")
    step = tensors.get(f"{name}.input_scale")
    if f"{name}.counts" in tensors:
        counts = tensors[f"{name}.counts"].astype(np.int64)
        values = np.zeros((len(counts), columns), tensors[f"{name}.values"].dtype)
        values[np.repeat(np.arange(len(counts)), counts), tensors[f"{name}.columns"]] = tensors[f"{name}.values"]
    else:
        values = tensors[name]
        if values.dtype == np.uint8:
            values = unpack(values, columns)
    return Matrix(values, scale, None if step is None else np.float32(step[0]))


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell read back from its tensors."""

    input_weight: tuple[Matrix, ...]
    recurrent_weight: tuple[Matrix, ...]
    gate_bias: Floats
    update_bias: Floats
    zeta: np.float32
    nu: np.float32
    piecewise: bool

    @classmethod
    def read(cls, tensors: Tensors, prefix: str, dimensions: int) -> Cell:
        """From the tensors under ``prefix``, for inputs of ``dimensions``."""
        gate_bias = tensors[f"{prefix}.gate_bias"]

        def factors(name: str, columns: int) -> tuple[Matrix, ...]:
            full = f"{prefix}.{name}"
            if f"{full}.rank" not in tensors:
                return (read_matrix(tensors, full, columns),)
            rank = int(tensors[f"{full}.rank"][0])
            return (read_matrix(tensors, f"{full}.right", columns), read_matrix(tensors, f"{full}.left", rank))

        return cls(
            factors("input_weight", dimensions),
            factors("recurrent_weight", len(gate_bias)),
            gate_bias,
            tensors[f"{prefix}.update_bias"],
            _sigmoid(tensors[f"{prefix}.zeta"])[0],
            _sigmoid(tensors[f"{prefix}.nu"])[0],
            bool(tensors[f"{prefix}.activation"][0]),
        )

    def step(self, x: Floats, h: Floats) -> Floats:
        """x [n, D] and h [n, H] to h' [n, H]."""
        wx, uh = x, h
        for matrix in self.input_weight:
            wx = matrix.times(wx)
        for matrix in self.recurrent_weight:
            uh = matrix.times(uh)
        pre = wx + uh
        z = _piecewise_sigmoid(pre + self.gate_bias) if self.piecewise else _sigmoid(pre + self.gate_bias)
        c = np.clip(pre + self.update_bias, -1, 1) if self.piecewise else np.tanh(pre + self.update_bias)
        return np.asarray((self.zeta * (1 - z) + self.nu) * c + z * h, np.float32)

    def last_state(self, x: Floats, length: npt.NDArray[np.int64]) -> Floats:
        """State after the last step of each sequence x [n, steps, D]: float32 [n, H]."""
        h = np.zeros((len(x), len(self.gate_bias)), np.float32)
        for at in range(x.shape[1]):
            h = np.where((at < length)[:, None], self.step(x[:, at], h), h)
        return h


def logits(tensors: Tensors, state: Floats, prefix: str = "head") -> Floats:
    """The head's [n, L] from states [n, H]."""
    head = read_matrix(tensors, f"{prefix}.weight", state.shape[1])
    return np.asarray(head.times(state) + tensors[f"{prefix}.bias"], np.float32)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(np.clip(-x, -80, 80))), np.float32)


def _piecewise_sigmoid(x: Floats) -> Floats:
    return np.asarray(np.clip((x + 1) / 2, 0, 1), np.float32)
