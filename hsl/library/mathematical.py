"""Chapter "Mathematical". Numbers are IEEE doubles: impossible operations give nan and inf, never an error."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

from hsl import intrinsics
from hsl.arithmetic import divide, power
from hsl.builtins import Chapter
from hsl.values import to_number

chapter = Chapter("Mathematical")

MAX_DECIMALS = 324  # decimals of the smallest double; beyond, rounding changes nothing
PRECISION = Context(prec=2 * MAX_DECIMALS + 20, rounding=ROUND_HALF_UP)


@chapter.function("abs", constant=True, node=intrinsics.Abs)
def absolute(number: float) -> float:
    """Return the absolute value of a number.

    Example:
        echo abs(-1.5);  // expect: 1.5
    """
    return abs(number)


@chapter.function("ceil", constant=True, node=intrinsics.Ceil)
def ceil(number: float) -> float:
    """Return the smallest integer that is not less than the number.

    Example:
        echo ceil(1.2);  // expect: 2
    """
    return math.ceil(number) + 0.0 if math.isfinite(number) else number


@chapter.function("floor", constant=True, node=intrinsics.Floor)
def floor(number: float) -> float:
    """Return the greatest integer that is not greater than the number.

    Example:
        echo floor(-1.2);  // expect: -2
    """
    return math.floor(number) + 0.0 if math.isfinite(number) else number


def logarithm(number: float, base: float) -> float:
    """The exact functions for the bases that have one; ln 0 is -inf, of negative numbers nan."""
    if number != number or number < 0.0:
        return math.nan
    if number == 0.0:
        return -math.inf
    return {2.0: math.log2, 10.0: math.log10}.get(base, math.log)(number)


@chapter.function("log", constant=True)
def log(number: float, base: float = math.e) -> float:
    """Return the logarithm of a number to a base, by default the natural one.

    Of 0 it is -inf, of negative numbers nan.

    Example:
        echo log(1000, 10);  // expect: 3
    """
    value = logarithm(number, base)
    if base in (math.e, 2.0, 10.0):
        return value
    return to_number(divide(value, logarithm(base, math.e)))


@chapter.function("pow", constant=True)
def pow(base: float, exponent: float) -> float:
    """Return the base raised to an exponent, as the operator ** does.

    Example:
        echo pow(2, 10);  // expect: 1024
    """
    return to_number(power(base, exponent))


@chapter.function("round", constant=True)
def round(number: float, decimals: int = 0) -> float:
    """Return a number rounded to so many decimals (negative: to tens, hundreds …), halves away from zero.

    The number is taken as it is written: round(1.005, 2) is 1.01.

    Example:
        echo round(2.5);  // expect: 3
        echo round(1234.567, 2);  // expect: 1234.57
        echo round(1234.567, -2);  // expect: 1200
    """
    if not math.isfinite(number) or decimals >= MAX_DECIMALS:
        return number
    if decimals < -MAX_DECIMALS:
        return 0.0
    rounded = Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals, PRECISION), context=PRECISION)
    return float(rounded) + 0.0


@chapter.function("sqrt", constant=True)
def sqrt(number: float) -> float:
    """Return the square root of a number; of a negative one nan.

    Example:
        echo sqrt(2) ** 2 == 2;  // expect: false
        echo sqrt(9);  // expect: 3
    """
    return math.sqrt(number) if number >= 0.0 else math.nan
