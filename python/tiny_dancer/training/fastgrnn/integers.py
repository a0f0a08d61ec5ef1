"""Weights as integers, and two int4 a byte. numpy only: predicting needs no jax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Form = Literal["f32", "int8", "int4"]
LARGEST = {"int8": 127, "int4": 7}


def to_integers(weight: Floats, form: Form) -> tuple[npt.NDArray[np.int8], Floats]:
    """A matrix [rows, columns] as integers and one scale a row: ``weight ≈ scale · integers``.

    The error of each weight is at most half the row's scale, which is max |row| ÷ 127 (int8) or ÷ 7 (int4).
    """
    most = LARGEST[form]
    scale = (np.abs(weight).max(axis=1) / most).astype(np.float32)
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    integers = np.clip(np.rint(weight / safe[:, None]), -most, most).astype(np.int8)
    return integers, safe


def pack(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """int4 in -7..7 [rows, columns] as bytes [rows, ceil(columns / 2)], low nibble first, two's complement."""
    rows, columns = integers.shape
    even = np.zeros((rows, columns + columns % 2), np.int8)
    even[:, :columns] = integers
    nibbles = even.view(np.uint8) & 15
    return np.asarray(nibbles[:, ::2] | nibbles[:, 1::2] << 4, np.uint8)


def unpack(packed: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.int8]:
    """What :func:`pack` was given."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)[:, :columns].astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)
