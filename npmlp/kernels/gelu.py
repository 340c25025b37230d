"""GELU, entry by entry.

It needs e^x and the normal distribution function. For float32 both are written here as short
polynomials without branches, so that the compiler computes 8 or 16 entries at once, as fast as
PyTorch's; float64, which is for checking, takes them from the C library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from npmlp.kernels.cache import njit, prange
from npmlp.kernels.elementwise import Array, Loop, each
from npmlp.kernels.lines import move_lines
from npmlp.kernels.vectors import wide


def gelu_forward(
    inputs: tuple[Any, ...], outs: tuple[Any, ...], scratch: Any, approximate: str
) -> None:
    """out = x Φ(x), or with "tanh" ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    x = inputs[0]
    each((_GELU_TANH if approximate == "tanh" else _GELU)[x.dtype], x, x, 0.0, outs[0])


def gelu_backward(
    dout: Array,
    inputs: tuple[Any, ...],
    outs: Any,
    grads: tuple[Any, ...],
    scratch: Any,
    approximate: str,
) -> None:
    """dx = dout (Φ(x) + x φ(x)), φ the normal density; or the derivative of the tanh form."""
    loop = _GELU_TANH_GRADIENT if approximate == "tanh" else _GELU_GRADIENT
    each(loop[dout.dtype], dout, inputs[0], 0.0, grads[0])


# ------------------------------------------------------- e^x and Φ(x) in float32, without branches
#
# Every constant is a float32: a Python float would widen the arithmetic to float64. Conditions only
# choose between values that are both computed, which a vector can do. "contract" allows fused
# multiply-adds, which the error bounds below were measured with.

_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # ln 2, in two parts
_E2, _E3, _E4 = (
    np.float32(5.0000001201e-1),
    np.float32(1.6666665459e-1),
    np.float32(4.1665795894e-2),
)
_E5, _E6, _E7 = (
    np.float32(8.3334519073e-3),
    np.float32(1.3981999507e-3),
    np.float32(1.9875691500e-4),
)
_LOWEST = np.float32(-87)  # e^-87 is near the smallest normal float32


@njit(cache=True, forceinline=True, fastmath={"contract"})
def _exp_32(x: np.float32) -> np.float32:
    """e^x for x ≤ 0, to 1 unit in the last place; 0 below -87.

    e^x = 2^n e^r with n = round(x / ln 2), so |r| ≤ ½ ln 2, where a polynomial is enough; 2^n is
    made by writing n into the exponent's bits. Source: Cephes, S. Moshier, expf.
    """
    y = x if x > _LOWEST else _LOWEST
    n = np.floor(y * _LOG2_E + _HALF)
    r = y - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_E7 * r + _E6) * r + _E5) * r + _E4) * r + _E3) * r + _E2
    p = p * r * r + r + _ONE
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return p * power if x > _LOWEST else _ZERO


_SQRT_HALF = np.float32(math.sqrt(0.5))
_DENSITY_0 = np.float32(1 / math.sqrt(2 * math.pi))
_SWITCH = np.float32(0.927734375)
_S1, _S3, _S5 = np.float32(1.28379166e-1), np.float32(-3.76125336e-1), np.float32(1.12819925e-1)
_S7, _S9, _S11 = np.float32(-2.67681349e-2), np.float32(4.99119423e-3), np.float32(-5.96761703e-4)
_L1, _L2, _L3 = np.float32(-1.28717512e-1), np.float32(-6.34846687e-1), np.float32(-1.06777877e-1)
_L4, _L5 = np.float32(2.42546219e-2), np.float32(-3.88396438e-3)
_L6, _L7 = np.float32(3.83197126e-4), np.float32(-1.72853470e-5)


@njit(cache=True, forceinline=True, fastmath={"contract"})
def _normal_cdf_32(x: np.float32) -> np.float32:
    """Φ(x) = ½ (1 + erf(x/√2)), to 1.2 · 2⁻²⁴.

    Near 0, erf is an odd polynomial; further out 1 - erf(t) is e to a polynomial, which is the tail
    of Φ as it stands: ½ (1 + erf) would lose the tail's digits. Source: N. Juffa's erff, two
    minimax polynomials that keep erf below 1 unit in the last place.
    """
    a = x * _SQRT_HALF
    t = abs(a)
    s = a * a
    near = (((((_S11 * s + _S9) * s + _S7) * s + _S5) * s + _S3) * s + _S1) * t + t
    far = (_L7 * t + _L6) * s + (_L5 * t + _L4)
    far = (((far * t + _L3) * t + _L2) * t + _L1) * t - t
    exponential = _HALF * _exp_32(far)
    tail = exponential if t > _SWITCH else _HALF - _HALF * near
    return tail if x < _ZERO else _ONE - tail


# -------------------------------------------------------------------------------- GELU, float32


@njit(cache=True, forceinline=True, fastmath={"contract"})
def gelu_of_32(x: np.float32) -> np.float32:
    """x Φ(x)"""
    return x * _normal_cdf_32(x)


@njit(cache=True, forceinline=True, fastmath={"contract"})
def gelu_slope_32(x: np.float32) -> np.float32:
    """Φ(x) + x φ(x)"""
    return _normal_cdf_32(x) + x * (_DENSITY_0 * _exp_32(-_HALF * x * x))


_TANH_1 = np.float32(2 * math.sqrt(2 / math.pi))
_TANH_3 = np.float32(2 * math.sqrt(2 / math.pi) * 0.044715)


# error_model="numpy": a division need not check for zero and raise, which would stop the vectors.
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _gelu_tanh_32(x: Array, _: Array, number: Any, out: Array, first: int, last: int) -> None:
    """½ (1 + tanh(u/2)) is 1 / (1 + e^-u), taken from e^-|u|: nothing overflows or cancels."""
    wide()  # type: ignore[call-arg]
    x, out = x[first:last], out[first:last]
    for i in range(out.size):
        u = x[i] * (_TANH_1 + _TANH_3 * x[i] * x[i])
        e = _exp_32(-abs(u))
        out[i] = x[i] * ((e if u < _ZERO else _ONE) / (_ONE + e))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _gelu_tanh_gradient_32(
    dout: Array, x: Array, number: Any, dx: Array, first: int, last: int
) -> None:
    """With p = 1 / (1 + e^-u): p + x p (1 - p) u', and p (1 - p) = e^-|u| / (1 + e^-|u|)²."""
    wide()  # type: ignore[call-arg]
    three = np.float32(3)
    dout, x, dx = dout[first:last], x[first:last], dx[first:last]
    for i in range(dx.size):
        square = x[i] * x[i]
        u = x[i] * (_TANH_1 + _TANH_3 * square)
        e = _exp_32(-abs(u))
        q = _ONE / (_ONE + e)
        p = e * q if u < _ZERO else q
        dx[i] = dout[i] * (p + x[i] * (_TANH_1 + three * _TANH_3 * square) * (e * q * q))


# -------------------------------------------------------------------------------- GELU, float64


@njit(cache=True)
def gelu_of_64(x: np.float64) -> np.float64:
    """x Φ(x)"""
    return x * (0.5 * (1 + math.erf(x * math.sqrt(0.5))))


@njit(cache=True)
def gelu_slope_64(x: np.float64) -> np.float64:
    """Φ(x) + x φ(x)"""
    density = math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + math.erf(x * math.sqrt(0.5))) + x * density


@njit(cache=True)
def _gelu_tanh_64(x: Array, _: Array, number: Any, out: Array, first: int, last: int) -> None:
    x, out = x[first:last], out[first:last]
    for i in range(out.size):
        u = math.sqrt(2 / math.pi) * (x[i] + 0.044715 * x[i] ** 3)
        out[i] = 0.5 * x[i] * (1 + math.tanh(u))


@njit(cache=True)
def _gelu_tanh_gradient_64(
    dout: Array, x: Array, number: Any, dx: Array, first: int, last: int
) -> None:
    dout, x, dx = dout[first:last], x[first:last], dx[first:last]
    for i in range(dx.size):
        square = x[i] * x[i]
        t = math.tanh(math.sqrt(2 / math.pi) * (x[i] + 0.044715 * x[i] * square))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * square)
        dx[i] = dout[i] * (0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * slope)


# ---------------------------------------------------------------------------- exact, either dtype
#
# Which GELU it is, is settled by the dtype when a loop is compiled. A call that is not inlined
# would keep the loop around it from becoming a vector's.


def gelu_of(x: Any) -> Any:
    """x Φ(x)"""


def gelu_slope(x: Any) -> Any:
    """Φ(x) + x φ(x)"""


@overload(gelu_of, jit_options={"forceinline": True})
def _compiled_gelu(x: Any) -> Any:
    def single(x: Any) -> Any:
        return gelu_of_32(x)

    def double(x: Any) -> Any:
        return gelu_of_64(x)

    return single if x == types.float32 else double


@overload(gelu_slope, jit_options={"forceinline": True})
def _compiled_slope(x: Any) -> Any:
    def single(x: Any) -> Any:
        return gelu_slope_32(x)

    def double(x: Any) -> Any:
        return gelu_slope_64(x)

    return single if x == types.float32 else double


@njit(cache=True)
def gelu_entries(x: Array, out: Array, first: int, last: int) -> None:
    """out[i] = GELU(x[i]) for entries first … last."""
    wide()  # type: ignore[call-arg]
    x, out = x[first:last], out[first:last]
    for i in range(out.size):
        out[i] = gelu_of(x[i])


@njit(cache=True)
def back_through_gelu(dout: Array, x: Array, dx: Array, first: int, last: int) -> None:
    """dx[i] = dout[i] · the slope of GELU at x[i] for entries first … last."""
    wide()  # type: ignore[call-arg]
    dout, x, dx = dout[first:last], x[first:last], dx[first:last]
    for i in range(dx.size):
        dx[i] = dout[i] * gelu_slope(x[i])


# The same of a block of a matrix, some columns of some rows, whose row i begins at `at` + i · down.
# Rows are put together in a place of their own first: what is left of each row by whole vectors
# would be computed entry by entry, and take longer than all before it.

_AT_ONCE = 2048  # entries: 8 kB of float32


@njit(cache=True)
def gelu_block(x: Array, out: Array, at: int, down: int, rows: int, columns: int) -> None:
    """out[i, j] = GELU(x[i, j]) for i < rows, j < columns."""
    wide()  # type: ignore[call-arg]
    if columns == down:
        gelu_entries(x, out, at, at + rows * columns)
        return
    few = max(1, _AT_ONCE // columns)
    z = np.empty(min(few, rows) * columns, x.dtype)
    for i in range(0, rows, few):
        n, begin = min(few, rows - i), at + i * down
        move_lines(x, begin, down, z, 0, columns, n, columns)
        for k in range(n * columns):
            z[k] = gelu_of(z[k])
        move_lines(z, 0, columns, out, begin, down, n, columns)


@njit(cache=True)
def back_through_block(
    dout: Array, x: Array, dx: Array, at: int, down: int, rows: int, columns: int
) -> None:
    """dx[i, j] = dout[i, j] · the slope of GELU at x[i, j] for i < rows, j < columns."""
    wide()  # type: ignore[call-arg]
    if columns == down:
        back_through_gelu(dout, x, dx, at, at + rows * columns)
        return
    few = max(1, _AT_ONCE // columns)
    z, d = np.empty(min(few, rows) * columns, x.dtype), np.empty(min(few, rows) * columns, x.dtype)
    for i in range(0, rows, few):
        n, begin = min(few, rows - i), at + i * down
        move_lines(x, begin, down, z, 0, columns, n, columns)
        move_lines(dout, begin, down, d, 0, columns, n, columns)
        for k in range(n * columns):
            z[k] = d[k] * gelu_slope(z[k])
        move_lines(z, 0, columns, dx, begin, down, n, columns)


# elementwise.py says why loops look like this, and are there twice


@njit(cache=True)
def _gelu(x: Array, _: Array, number: Any, out: Array, first: int, last: int) -> None:
    gelu_entries(x, out, first, last)


@njit(cache=True, parallel=True)
def _gelus(x: Array, _: Array, number: Any, out: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        gelu_entries(x, out, t * chunk, min(out.size, (t + 1) * chunk))


@njit(cache=True)
def _gradient(dout: Array, x: Array, number: Any, dx: Array, first: int, last: int) -> None:
    back_through_gelu(dout, x, dx, first, last)


@njit(cache=True, parallel=True)
def _gradients(dout: Array, x: Array, number: Any, dx: Array, chunk: int, chunks: int) -> None:
    for t in prange(chunks):
        back_through_gelu(dout, x, dx, t * chunk, min(dx.size, (t + 1) * chunk))


# float64 is for checking, and runs on one thread
_32, _64 = np.dtype(np.float32), np.dtype(np.float64)
_GELU = {_32: Loop(_gelu, _gelus, 8), _64: Loop(_gelu)}
_GELU_GRADIENT = {_32: Loop(_gradient, _gradients, 12), _64: Loop(_gradient)}
_GELU_TANH = {_32: Loop(_gelu_tanh_32), _64: Loop(_gelu_tanh_64)}
_GELU_TANH_GRADIENT = {_32: Loop(_gelu_tanh_gradient_32), _64: Loop(_gelu_tanh_gradient_64)}
