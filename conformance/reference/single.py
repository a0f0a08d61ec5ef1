"""Single precision (IEEE 754 binary32) in a language that has only doubles.

A double sum, product, quotient or root of two singles, rounded once to single, is the single-precision result:
so ``single(a + b)`` is exactly what the engine's ``a + b`` is.
"""

from __future__ import annotations

import math
import struct
from ctypes import c_float
from functools import cache
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


# The natural logarithm below is FreeBSD's e_logf.c, which the engine's `libm` is a port of. A correctly rounded
# logarithm differs from it in the last bit for 314 of the 29,525 word pieces, and `rarity_deviation` subtracts
# nearly equal numbers: there the last bit shows.
#
# Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at SunPro, a Sun Microsystems, Inc.
# business. Permission to use, copy, modify, and distribute this software is freely granted, provided that this
# notice is preserved.
_LN2_HIGH, _LN2_LOW = single(6.9313812256e-01), single(9.0580006145e-06)
_G1, _G2, _G3, _G4 = map(single, (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841))
_ROOT_HALF, _ONE = 0x3F3504F3, 0x3F800000


@cache
def log(value: float) -> float:
    """Natural logarithm of a single ≥ 1, in single precision, operation by operation."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    bits += _ONE - _ROOT_HALF
    exponent = float((bits >> 23) - 127)
    (reduced,) = struct.unpack("<f", struct.pack("<I", (bits & 0x7FFFFF) + _ROOT_HALF))
    f = single(reduced - 1.0)
    s = single(f / single(2.0 + f))
    z = single(s * s)
    w = single(z * z)
    odd = single(w * single(_G2 + single(w * _G4)))
    even = single(z * single(_G1 + single(w * _G3)))
    half_square = single(single(0.5 * f) * f)
    result = single(s * single(half_square + single(even + odd)))
    result = single(result + single(exponent * _LN2_LOW))
    result = single(single(result - half_square) + f)
    return single(result + single(exponent * _LN2_HIGH))
