"""The one form in which a number counts as text, whatever language wrote it (the engine's ``number.rs``).

* A whole number written without point or exponent keeps all its digits; ``-0`` is ``0``.
* Any other is read as a double and written as ECMAScript's ``Number::toString`` writes it (ECMA-262, section
  6.1.6.1.20; RFC 8785, section 3.2.2.3): the shortest digits that read back as the same double, without an
  exponent from 1e-6 up to 1e21.
* What is beyond any double has no form.
"""

from __future__ import annotations

import math


def canonical(written: str) -> str | None:
    """The form of a JSON number; None where it is beyond any double."""
    if written.lstrip("-").isdigit():
        return "0" if written == "-0" else written
    value = float(written)
    return of_double(value) if math.isfinite(value) else None


def of_double(value: float) -> str:
    """The form of a finite double."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, point = shortest(abs(value))
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits[0] + ("." + digits[1:] if count > 1 else "")
    return f"{sign}{mantissa}e{point - 1:+d}"


def shortest(value: float) -> tuple[str, int]:
    """The shortest digits that read back as ``value``, and after how many of them the decimal point stands.

    Python's ``repr`` finds these digits and differs from ECMAScript only in where it writes point and exponent.
    """
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, decimals = mantissa.partition(".")
    digits = whole + decimals
    point = len(whole) + int(exponent or 0)
    leading = len(digits) - len(digits.lstrip("0"))
    return digits.strip("0"), point - leading
