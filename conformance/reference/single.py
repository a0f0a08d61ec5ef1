"""Single precision (IEEE 754 binary32) in a language that has only doubles.

A double sum, product, quotient or root of two singles, rounded once to single, is the single-precision result:
so ``single(a + b)`` is exactly what the engine's ``a + b`` is.
"""

from __future__ import annotations

import math
from ctypes import c_float
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def single(value: float) -> float:
    """``value`` rounded to the nearest single."""
    return c_float(value).value


def total(values: Iterable[float]) -> float:
    """Sum of singles, from the first to the last, rounded after each."""
    result = 0.0
    for value in values:
        result = single(result + value)
    return result


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Sum of products over eight lanes: element i belongs to lane i mod 8; no fused multiply-add."""
    lanes = [0.0] * 8
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        lanes[index % 8] = single(lanes[index % 8] + single(x * y))
    even = single(single(lanes[0] + lanes[4]) + single(lanes[2] + lanes[6]))
    odd = single(single(lanes[1] + lanes[5]) + single(lanes[3] + lanes[7]))
    return single(even + odd)


def log1p(value: float) -> float:
    """ln(1 + value); the engine's own may differ from this in the last bit."""
    return single(math.log1p(value))


def log10(value: float) -> float:
    """Decimal logarithm; the engine's own may differ from this in the last bit."""
    return single(math.log10(value))


def root(value: float) -> float:
    """Square root."""
    return single(math.sqrt(value))


def share(part: float, whole: int) -> float:
    """Part of a whole; of an empty whole, 0 (no cue counts parts of nothing)."""
    return single(part / max(whole, 1))


def inverse_norm(vector: Sequence[int]) -> float:
    """1 ÷ length of a vector of integers, or 0 for the zero vector."""
    square = sum(value * value for value in vector)
    return single(1.0 / root(single(square))) if square else 0.0


def interpolate(knots: Sequence[float], values: Sequence[float], x: float) -> float:
    """The piecewise-linear map through (knot, value) at ``x``, constant beyond its ends."""
    above = sum(knot <= x for knot in knots)
    if above == 0:
        return values[0]
    if above == len(knots):
        return values[-1]
    low, high = knots[above - 1], knots[above]
    fraction = single(single(x - low) / single(high - low))
    return single(values[above - 1] + single(fraction * single(values[above] - values[above - 1])))
