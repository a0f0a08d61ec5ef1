"""The cells of ``vectors/fastgrnn.json``: every form, small, with fixed random weights."""

from __future__ import annotations

import random
from typing import Any

from reference.artifact import Tensor, Weights
from reference.fastgrnn import Cell

Tensors = dict[str, Tensor]
STEPS = 4

# What it guards, numbers, inputs rounded too, ranks of W and U, piecewise, D, H.
FORMS: list[tuple[str, str, bool, tuple[int, int], bool, int, int]] = [
    ("f32, every dimension a whole number of lanes", "f32", False, (0, 0), False, 8, 8),
    ("f32, no dimension a whole number of lanes", "f32", False, (0, 0), False, 5, 3),
    ("f32, one value in and one out", "f32", False, (0, 0), False, 1, 1),
    ("f32, more rows than four vectors hold", "f32", False, (0, 0), False, 3, 37),
    ("f32, piecewise-linear activations", "f32", False, (0, 0), True, 6, 5),
    ("f32, W of rank 2", "f32", False, (2, 0), False, 7, 4),
    ("f32, W and U of low rank", "f32", False, (3, 1), False, 9, 6),
    ("int8 weights and inputs", "int8", True, (0, 0), False, 8, 8),
    ("int8 weights and inputs, longer than a block of 32", "int8", True, (0, 0), False, 70, 4),
    ("int8 weights alone", "int8", False, (0, 0), False, 6, 5),
    ("int8, both low rank, piecewise-linear", "int8", True, (3, 2), True, 10, 7),
    ("int4, an even number of columns", "int4", True, (0, 0), False, 8, 4),
    ("int4, an odd number of columns: the last four bits are empty", "int4", True, (0, 0), False, 7, 5),
    ("int4 weights alone, low rank", "int4", False, (3, 3), False, 9, 5),
    ("sparse f32, a row without a weight", "sparse", False, (0, 0), False, 9, 6),
    ("sparse int8 weights and inputs", "sparse int8", True, (0, 0), False, 12, 6),
    ("sparse int8 weights alone, low rank, piecewise-linear", "sparse int8", False, (4, 2), True, 12, 6),
]


class CellMaker:
    """Draws weights; only ``random()`` is used, whose sequence Python guarantees for a seed."""

    def __init__(self, seed: int, numbers: str, *, integer_inputs: bool) -> None:
        self.random = random.Random(seed)
        self.numbers = numbers
        self.integer_inputs = integer_inputs

    def single(self, size: float) -> float:
        """Within ± ``size``, of four decimals."""
        return round((2 * self.random.random() - 1) * size, 4)

    def singles(self, *shape: int, size: float) -> Tensor:
        """A tensor of them."""
        count = 1
        for length in shape:
            count *= length
        return Tensor.of("F32", shape, [self.single(size) for _ in range(count)])

    def integer(self, largest: int) -> int:
        """From −largest to largest."""
        return int(self.random.random() * (2 * largest + 1)) - largest

    def matrix(self, name: str, rows: int, columns: int) -> Tensors:
        """A matrix in the form of the cell."""
        made: Tensors = {}
        if self.numbers == "f32":
            return {name: self.singles(rows, columns, size=0.8)}
        if self.numbers.startswith("sparse"):
            # Row 1 is empty; of the others about a third of the weights stay.
            kept = [
                [at for at in range(columns) if row != 1 and self.random.random() < 0.35] for row in range(rows)
            ]
            count = sum(map(len, kept))
            made[f"{name}.columns"] = Tensor.of("U16", (count,), [at for row in kept for at in row])
            made[f"{name}.counts"] = Tensor.of("U16", (rows,), [len(row) for row in kept])
            if self.numbers == "sparse":
                return made | {f"{name}.values": self.singles(count, size=0.8)}
            made[f"{name}.values"] = Tensor.of("I8", (count,), [self.integer(127) for _ in range(count)])
            largest = 127
        elif self.numbers == "int8":
            values = [self.integer(127) for _ in range(rows * columns)]
            made[name] = Tensor.of("I8", (rows, columns), values)
            largest = 127
        else:
            packed = []
            for _ in range(rows):
                row = [self.integer(7) & 15 for _ in range(columns)] + [0] * (columns % 2)
                packed += [low | high << 4 for low, high in zip(row[::2], row[1::2], strict=True)]
            made[name] = Tensor.of("U8", (rows, (columns + 1) // 2), packed)
            largest = 7
        scales = [round((0.2 + 0.8 * self.random.random()) * 0.8 / largest, 6) for _ in range(rows)]
        made[f"{name}.scale"] = Tensor.of("F32", (rows,), scales)
        if self.integer_inputs:
            made[f"{name}.input_scale"] = Tensor.of("F32", (1,), [round(0.01 + 0.01 * self.random.random(), 5)])
        return made

    def cell(
        self, name: str, inputs: int, hidden: int, ranks: tuple[int, int] = (0, 0), *, piecewise: bool = False
    ) -> Tensors:
        """A whole cell."""
        made = {
            f"{name}.zeta": self.singles(1, size=2.0),
            f"{name}.nu": self.singles(1, size=4.0),
            f"{name}.gate_bias": self.singles(hidden, size=1.0),
            f"{name}.update_bias": self.singles(hidden, size=1.0),
            f"{name}.activation": Tensor.of("U8", (1,), [int(piecewise)]),
        }
        for part, columns, rank in (("input", inputs, ranks[0]), ("recurrent", hidden, ranks[1])):
            weight = f"{name}.{part}_weight"
            if rank:
                made[f"{weight}.rank"] = Tensor.of("U16", (1,), [rank])
                made |= self.matrix(f"{weight}.right", rank, columns)
                made |= self.matrix(f"{weight}.left", hidden, rank)
            else:
                made |= self.matrix(weight, hidden, columns)
        return made


def cell_vectors() -> list[dict[str, Any]]:
    """Every form with inputs and the state after each step, from 0."""
    found = []
    for seed, (explain, numbers, integer_inputs, ranks, piecewise, inputs, hidden) in enumerate(FORMS):
        maker = CellMaker(100 + seed, numbers, integer_inputs=integer_inputs)
        tensors = maker.cell("cell", inputs, hidden, ranks, piecewise=piecewise)
        cell = Cell(Weights(tensors), "cell", inputs)
        steps = [maker.singles(inputs, size=2.5).values() for _ in range(STEPS)]
        if seed == 0:
            steps[1] = [1e9 if at % 2 else -1e9 for at in range(inputs)]
        state, states = [0.0] * hidden, []
        for step in steps:
            state = cell.step(step, state)
            states.append([float(f"{value:.9g}") for value in state])
        found.append(
            {
                "explain": explain,
                "tensors": {
                    name: {"dtype": tensor.dtype, "shape": list(tensor.shape), "values": shortened(tensor)}
                    for name, tensor in sorted(tensors.items())
                },
                "inputs": [[float(f"{value:.9g}") for value in step] for step in steps],
                "hidden": states,
            }
        )
    return found


def shortened(tensor: Tensor) -> list[float] | list[int]:
    """Values, singles with the nine digits that tell each from every other."""
    values = tensor.values()
    return [float(f"{value:.9g}") for value in values] if tensor.dtype == "F32" else values
