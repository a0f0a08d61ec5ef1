"""The FastGRNN cell in all its forms (the engine's ``fastgrnn.rs`` and ``backends/fastgrnn.rs``).

z = σ(W·x + U·h + b_z); c = τ(W·x + U·h + b_c); h' = (s(ζ)·(1 − z) + s(ν))·c + z·h (Kusupati et al. 2018).
All numbers are singles. Sums run over the columns in order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .errors import Refusal
from .single import single
from .word_pieces import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .artifact import Weights
    from .features import Features

CUES = 81
P = [single(value) for value in (0.99999936, 0.12913642, 2.9388284e-3, 1.131023e-5)]
Q = [single(value) for value in (1.0, 0.4624674, 0.02376383, 2.3702856e-4, 2.4238435e-7)]


def horner(coefficients: Sequence[float], u: float) -> float:
    """Value of a polynomial, the highest power first."""
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = single(coefficient + single(u * value))
    return value


def tanh(x: float) -> float:
    """x·P(x²) ÷ Q(x²), x kept within ±8: within 5e-7 of tanh. It is part of the format, so that bits agree."""
    x = max(-8.0, min(8.0, x))
    u = single(x * x)
    return single(single(x * horner(P, u)) / horner(Q, u))


def logistic(x: float) -> float:
    """1 ÷ (1 + e^−x), rounded once: for ζ and ν."""
    return single(1.0 / (1.0 + math.exp(-x)))


class Matrix:
    """R rows of C weights: f32, int8, int4 or sparse, and how inputs are rounded, if they are."""

    def __init__(self, weights: Weights, name: str, rows: int, columns: int) -> None:
        if weights.dtype(f"{name}.values"):
            dtype, self.rows = self._sparse(weights, name, rows, columns)
        elif weights.dtype(name) == "U8":
            dtype, self.rows = "I8", self._int4(weights, name, rows, columns)
        else:
            dtype = "I8" if weights.dtype(name) == "I8" else "F32"
            weights.get(name, dtype, rows, columns)
            self.rows = weights.rows(name, dtype, columns)
        self.input_scale: float | None = None
        if dtype == "F32":
            return
        scale = weights.get(f"{name}.scale", "F32", rows)
        if min(scale) < 0 or any(-128 in row for row in self.rows):
            raise Refusal("ArtifactInvalid", name)
        if not weights.dtype(f"{name}.input_scale"):
            self.rows = [
                [single(factor * value) for value in row] for factor, row in zip(scale, self.rows, strict=True)
            ]
            return
        (self.input_scale,) = weights.get(f"{name}.input_scale", "F32", 1)
        if self.input_scale < 2.0**-126:
            raise Refusal("ArtifactInvalid", f"{name}.input_scale")
        self.factors = [single(factor * self.input_scale) for factor in scale]

    @staticmethod
    def _sparse(weights: Weights, name: str, rows: int, columns: int) -> tuple[str, list[list[float]]]:
        dtype = "I8" if weights.dtype(f"{name}.values") == "I8" else "F32"
        values = iter(weights.get(f"{name}.values", dtype, None))
        places = weights.get(f"{name}.columns", "U16", None)
        counts = weights.get(f"{name}.counts", "U16", rows)
        if sum(counts) != len(places) or len(places) != len(weights.get(f"{name}.values", dtype, None)):
            raise Refusal("ArtifactInvalid", f"{name}.counts")
        found, start = [], 0
        for count in counts:
            own = places[start : start + count]
            if own != sorted(set(own)) or any(place >= columns for place in own):
                raise Refusal("ArtifactInvalid", f"{name}.columns")
            row = [0.0 if dtype == "F32" else 0] * columns
            for place in own:
                row[place] = next(values)
            found.append(row)
            start += count
        return dtype, found

    @staticmethod
    def _int4(weights: Weights, name: str, rows: int, columns: int) -> list[list[float]]:
        width = (columns + 1) // 2
        weights.get(name, "U8", rows, width)
        found: list[list[float]] = []
        for packed in weights.rows(name, "U8", width):
            numbers = [four - 16 if four > 7 else four for byte in packed for four in (byte & 15, byte >> 4)]
            if -8 in numbers or any(numbers[columns:]):
                raise Refusal("ArtifactInvalid", name)
            found.append(numbers[:columns])
        return found

    def products(self, x: Sequence[float]) -> list[float]:
        """M·x, one value a row."""
        if self.input_scale is None:
            sums = []
            for row in self.rows:
                value = 0.0
                for weight, each in zip(row, x, strict=True):
                    value = single(value + single(each * weight))
                sums.append(value)
            return sums
        rounded = [round(max(-127.0, min(127.0, single(each / self.input_scale)))) for each in x]
        return [
            single(single(sum(weight * each for weight, each in zip(row, rounded, strict=True))) * factor)
            for row, factor in zip(self.rows, self.factors, strict=True)
        ]


class Transform:
    """W or U: one matrix, or ``left`` after ``right`` where there is a ``rank``."""

    def __init__(self, weights: Weights, name: str, rows: int, columns: int) -> None:
        self.factors = [Matrix(weights, name, rows, columns)] if not weights.dtype(f"{name}.rank") else []
        if not self.factors:
            (rank,) = weights.get(f"{name}.rank", "U16", 1)
            self.factors.append(Matrix(weights, f"{name}.right", rank, columns))
            self.factors.append(Matrix(weights, f"{name}.left", rows, rank))

    def products(self, x: Sequence[float]) -> list[float]:
        """The products with ``x``, one value a row."""
        values = list(x)
        for factor in self.factors:
            values = factor.products(values)
        return values


class Cell:
    """A cell on inputs of ``inputs`` values."""

    def __init__(self, weights: Weights, name: str, inputs: int) -> None:
        self.gate_bias = weights.get(f"{name}.gate_bias", "F32", None)
        hidden = len(self.gate_bias)
        self.update_bias = weights.get(f"{name}.update_bias", "F32", hidden)
        (zeta,), (nu,) = (weights.get(f"{name}.{scalar}", "F32", 1) for scalar in ("zeta", "nu"))
        self.zeta, self.nu = logistic(zeta), logistic(nu)
        (activation,) = weights.get(f"{name}.activation", "U8", 1)
        if activation > 1 or not hidden:
            raise Refusal("ArtifactInvalid", f"{name}.activation")
        self.piecewise = activation == 1
        self.input_weight = Transform(weights, f"{name}.input_weight", hidden, inputs)
        self.recurrent_weight = Transform(weights, f"{name}.recurrent_weight", hidden, hidden)

    def gate(self, x: float) -> float:
        """σ: (1 + tanh(x / 2)) / 2, or the paper's (x + 1) / 2 within 0 and 1."""
        y = max(-1.0, min(1.0, x)) if self.piecewise else tanh(single(0.5 * x))
        return single(0.5 + single(0.5 * y))

    def candidate(self, x: float) -> float:
        """τ: tanh, or the paper's x within ±1."""
        return max(-1.0, min(1.0, x)) if self.piecewise else tanh(x)

    def step(self, x: Sequence[float], h: Sequence[float]) -> list[float]:
        """The state after ``h`` on input ``x``."""
        new = []
        rows = zip(
            self.input_weight.products(x),
            self.recurrent_weight.products(h),
            self.gate_bias,
            self.update_bias,
            h,
            strict=True,
        )
        for product, recurrent, gate_bias, update_bias, old in rows:
            shared = single(product + recurrent)
            z = self.gate(single(shared + gate_bias))
            c = self.candidate(single(shared + update_bias))
            share = single(single(self.zeta * single(1.0 - z)) + self.nu)
            new.append(single(single(share * c) + single(z * old)))
        return new


class FastGrnn:
    """head.bias + head.weight · h: one step from 0 over standardised cues and the embedding at length 1."""

    def __init__(self, weights: Weights, name: str, components: int) -> None:
        self.cell = Cell(weights, name, CUES + DIMENSIONS)
        self.cue_mean = weights.get(f"{name}.cue_mean", "F32", CUES)
        self.cue_scale = weights.get(f"{name}.cue_scale", "F32", CUES)
        self.head = Matrix(weights, f"{name}.head.weight", components, len(self.cell.gate_bias))
        self.bias = weights.get(f"{name}.head.bias", "F32", components)

    def scores(self, features: Features) -> list[float]:
        """One score a component."""
        cues = zip(features.cues.values(), self.cue_mean, self.cue_scale, strict=True)
        inputs = [single(single(cue - mean) * scale) for cue, mean, scale in cues]
        state = self.cell.step([*inputs, *features.unit_embedding], [0.0] * len(self.cell.gate_bias))
        products = self.head.products(state)
        return [single(bias + product) for bias, product in zip(self.bias, products, strict=True)]
