"""The arithmetic behind PyTorch's uniforms and normals: fused multiply-adds, and Box-Muller.

PyTorch computes float32 normals with short polynomials instead of the C library's functions. They
consist of IEEE operations alone: NumPy gives the same bits, given an `a·b + c` that rounds once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


# --- two operations, one rounding ------------------------------------------------------------


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b as (rounded sum, rounding error): together they are the exact sum.

    Source: Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B.
    """
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a · b of float64 as (rounded product, rounding error): together the exact product.

    Source: Dekker 1971, A floating-point technique for extending the available precision.
    """
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a: Any) -> tuple[Any, Any]:
    """A float64 as the sum of two numbers of at most 26 bits, whose products are exact."""
    scaled = a * 134217729.0  # 2²⁷ + 1
    high = scaled - (scaled - a)
    return high, a - high


def round_to_odd(total: Array, error: Array) -> Array:
    """total + error in float64, such that rounding it once more gives what one rounding would.

    Rounding twice goes wrong where the first result lies exactly halfway between two neighbours
    of the second. So an inexact total with an even last bit is moved to its odd neighbour on the
    side of the error: it is then never halfway, and still on the right side of every halfway point.
    Source: Boldo and Melquiond 2008, Emulation of FMA and correctly rounded sums, section 3.
    """
    bits = total.view(np.int64)
    to_move = (np.abs(error) > 0) & (bits & 1 == 0)  # a NaN error, beside an infinity, is not > 0
    away_from_zero = (error > 0) == (total > 0)
    return (bits + to_move * np.where(away_from_zero, 1, -1)).view(np.float64)


def fma32(a: Array, b: Any, c: Any) -> Array:
    """a·b + c of float32 numbers, rounded once to float32, as the processor's FMA does it.

    The product of two 24-bit numbers is exact in float64. The sum is not always, so it is rounded
    to odd: the rounding to float32 is then the only one that counts.
    """
    total, error = two_sum(np.multiply(a, b, dtype=np.float64), np.asarray(c, np.float64))
    if error.any():
        total = round_to_odd(total, error)
    return total.astype(np.float32)


def fma64(a: Array, b: float, c: float) -> Array:
    """a·b + c of float64 numbers, rounded once; a is an array of moderate size, |a| < 2⁹⁰⁰.

    Exact unless the result, or what is lost in rounding a·b, is below the normal range (2⁻¹⁰²²).
    Source: Boldo and Melquiond 2008, Emulation of FMA and correctly rounded sums, figure 2.
    """
    if c == 0.0 or not (math.isfinite(b) and math.isfinite(c)):
        return a * b + c  # no second rounding; adding 0.0 makes −0.0 a 0.0, as the FMA does
    # A power of two brings the larger of b and c to [½, 1), so that the halves cannot overflow.
    exponent = math.frexp(max(abs(b), abs(c)))[1]
    b, c = math.ldexp(b, -exponent), math.ldexp(c, -exponent)
    product, product_error = two_product(a, b)
    low, low_error = two_sum(c, product_error)
    high, high_error = two_sum(product, low)
    return np.ldexp(high + round_to_odd(*two_sum(low_error, high_error)), exponent)


# --- Cephes' log, sin and cos in float32 -----------------------------------------------------
# Source: Cephes by S. L. Moshier (logf, sinf, cosf), put into vector form by J. Pommier
# (sse_mathfun) and G. Garberoglio (avx_mathfun), which is what PyTorch uses. Which products its
# compiler fuses with the sum that follows was found by comparing bits: each that only feeds a sum.

_LOG = np.array(
    [
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
        -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    ],
    np.float32,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_SQRT_HALF = np.float32(0.707106781186547524)

_SIN = np.array([-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1], np.float32)
_COS = np.array([2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2], np.float32)
_FOUR_OVER_PI = np.float32(1.27323954473516)
_MINUS_PI_OVER_4 = np.array(
    [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8], np.float32
)
_ONE, _HALF = np.float32(1), np.float32(0.5)


def log32(x: Array) -> Array:
    """Natural logarithm of positive, normal float32 numbers.

    x = m·2ᵉ with m in [√½, √2); log x = log(1 + f) + e·ln 2 with f = m − 1, and
    log(1 + f) = f − f²/2 + f³·P(f). ln 2 comes in two parts, the high one with few bits.
    """
    bits = x.view(np.int32)
    e = ((bits >> 23) - 126).astype(np.float32)
    m = ((bits & 0x007FFFFF) | 0x3F000000).view(np.float32)  # the fraction bits, as [½, 1)
    small = m < _SQRT_HALF
    e -= small
    f = (m - _ONE) + np.where(small, m, np.float32(0))
    f2 = f * f
    p = fma32(_polynomial(_LOG, f) * f, f2, e * _LN2_LOW)
    return fma32(e, _LN2_HIGH, f + (p - f2 * _HALF))


def sincos32(x: Array) -> tuple[Array, Array]:
    """Sine and cosine of float32 angles from 0 to 8,192.

    x = j·π/4 + r with j even and |r| ≤ π/4: j says which of the two polynomials in r is which
    function, and the signs. π/4 comes in three parts, so that r keeps its bits.
    """
    j = ((x * _FOUR_OVER_PI).astype(np.int32) + 1) & ~1
    r = x
    for part in _MINUS_PI_OVER_4:
        r = fma32(j.astype(np.float32), part, r)
    r2 = r * r
    cos = fma32(_polynomial(_COS, r2) * r2, r2, -(r2 * _HALF)) + _ONE
    sin = fma32(_polynomial(_SIN, r2) * r2, r, r)
    swapped = j & 2 != 0
    sine, cosine = np.where(swapped, cos, sin), np.where(swapped, sin, cos)
    return np.where(j & 4 != 0, -sine, sine), np.where((j + 2) & 4 != 0, -cosine, cosine)


def _polynomial(coefficients: Array, x: Array) -> Array:
    """The polynomial with these coefficients, highest power first: one FMA for each power."""
    result = fma32(x, coefficients[0], coefficients[1])
    for c in coefficients[2:]:
        result = fma32(result, x, c)
    return result


# --- Box-Muller ------------------------------------------------------------------------------


def normals_from_uniforms(u: Array, mean: float, std: float) -> Array:
    """Turn uniforms of [0, 1) into as many normals, in blocks of 16.

    In each block d: r = √(−2·log(1 − d[0:8])) and θ = 2π·d[8:16]; the result is
    std·r·cos θ + mean in the first half and std·r·sin θ + mean in the second.

    Parameters
    ----------
    u : float32 or float64, shape (16·k,), whose type the arithmetic takes
    mean, std : already rounded to that type

    Returns
    -------
    array like u
    """
    blocks = u.reshape(-1, 2, 8)
    scalar = u.dtype.type
    u1, u2 = scalar(1) - blocks[:, 0], blocks[:, 1]  # [0, 1) becomes (0, 1]: log(0) cannot happen
    theta = scalar(2 * math.pi) * u2
    if u.dtype == np.float32:
        radius = np.sqrt(scalar(-2) * log32(u1))
        sin, cos = sincos32(theta)
        halves = [fma32(radius * f, std, mean) for f in (cos, sin)]
    else:  # the C library's functions, as Python has them: NumPy's own may differ by an ulp
        radius = np.sqrt(-2.0 * _each(math.log, u1))
        halves = [fma64(radius * _each(f, theta), std, mean) for f in (math.cos, math.sin)]
    return np.stack(halves, axis=1).reshape(-1)


def _each(function: Callable[[float], float], x: Array) -> Array:
    return np.array([function(v) for v in x.ravel().tolist()]).reshape(x.shape)
