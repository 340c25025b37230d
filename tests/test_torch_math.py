"""Sums and fused multiply-adds are rounded once: compared with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from npmlp._torch_math import fma32, fma64


def _rounded_to_float32(exact: Fraction) -> np.float32:
    """The nearest float32, ties to even, in integers alone."""
    if exact == 0:
        return np.float32(0)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent  # now 2^exponent <= size < 2^(exponent + 1)
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    return np.float32(float(round(exact / unit) * unit))  # round() of a Fraction: ties to even


def test_fma32_rounds_once() -> None:
    # (1 + 2⁻¹²)² = 1 + 2⁻¹¹ + 2⁻²⁴ lies halfway between two float32 numbers. What is added decides,
    # and in float64 it is too small to be seen.
    a = np.full(3, 1 + 2.0**-12, np.float32)
    c = np.float32([2.0**-60, 0.0, -(2.0**-60)])
    up, down = np.float32(1 + 2.0**-11 + 2.0**-23), np.float32(1 + 2.0**-11)
    assert fma32(a, a, c).tolist() == [up, down, down]
    assert fma32(-a, a, -c).tolist() == [-up, -down, -down]

    rng = np.random.default_rng(1)
    with np.errstate(under="ignore"):
        for spread in (1, 30, 60):  # from sums of like sizes to subnormal results
            a, b, c = (
                (rng.standard_normal(2000) * 2.0 ** rng.uniform(-spread, 0, 2000)).astype(
                    np.float32
                )
                for _ in range(3)
            )
            b[::3] = (1 + 2.0**-12) * np.sign(b[::3])  # with a few bits each, ties become common
            a[::3] = np.float32(1 + 2.0**-12)
            c[::3] *= np.float32(2.0**-45)
            c[1::3] *= np.float32(2.0**-70)
            expected = [
                _rounded_to_float32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
                for x, y, z in zip(a, b, c, strict=True)
            ]
            np.testing.assert_array_equal(fma32(a, b, c), np.array(expected))


@pytest.mark.parametrize("exponent", [0, 800, -800, 1000])
def test_fma64_rounds_once(exponent: int) -> None:
    # 1 + 2⁻²⁷ squared has a last bit of 2⁻⁵⁴, a quarter of the last bit of a float64.
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.standard_normal(500), [1 + 2.0**-27, -1 - 2.0**-27, 0.0, 1.0]])
    for b, c in [
        (0.7, 0.1),
        (1 + 2.0**-27, 2.0**-110),
        (1 + 2.0**-27, -3e-17),
        (1e-9, 3.0),
        (5.0, 0),
    ]:
        b, c = np.ldexp(b, exponent), np.ldexp(c, exponent)
        expected = [float(Fraction(v) * Fraction(b) + Fraction(c)) for v in x.tolist()]
        np.testing.assert_array_equal(fma64(x, float(b), float(c)), np.array(expected))
