"""What the text of a step calls by name, in Triton: the twin of `kernel/functions.h`, in float32 and float64.

Every function is exact to a few units in the last place, near 0 too, and NaN stays NaN.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel: there is one for constants and none for anything else

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def where(condition, yes, no):
    """`yes` where the condition holds, else `no`."""
    return tl.where(condition, yes, no)


@triton.jit
def power_of_e(x):
    """e^x."""
    return tl.exp(x)


@triton.jit
def power_less_one(x):
    """e^x - 1; what rounding e^x = u loses near x = 0 is made up for by (u - 1) x / ln u."""
    u = tl.exp(x)
    near = tl.where(u == 1, x, (u - 1) * (x / tl.where(u == 1, 1.0, tl.log(u))))
    return tl.where(tl.abs(x) < 0.5, near, u - 1)


@triton.jit
def logarithm(x):
    """ln x."""
    return tl.log(x)


@triton.jit
def logarithm_of_more(x):
    """ln(1 + x); what rounding 1 + x = u loses is made up for."""
    u = 1 + x
    found = tl.log(u)
    return tl.where((u > 0) & (u < float("inf")), found + (x - (u - 1)) / u, found)


@triton.jit
def softplus(x):
    """ln(1 + e^x), x itself above 20, as torch has it."""
    return tl.where(x > 20, x, logarithm_of_more(tl.exp(tl.where(x > 20, 0.0, x))))


@triton.jit
def hyperbolic_tangent(x):
    """tanh x: in float32 x + x^3 p(x^2) for |x| < .625, else 1 - 2 / (e^2x + 1); in float64 by e^-2x - 1.

    Source: Moshier's Cephes, tanhf.
    """
    size, square = tl.abs(x), x * x
    if x.dtype == tl.float64:
        less_one = power_less_one(-2 * size)
        large = -less_one / (2 + less_one)
        small = tl.where(x < 0, -large, large)
    else:
        p = (((-5.70498872745e-3 * square + 2.06390887954e-2) * square - 5.37397155531e-2) * square) + 1.33314422036e-1
        small = x + x * square * (p * square - 3.33332819422e-1)
        large = 1.0 - 2.0 / (tl.exp(2.0 * size) + 1.0)
    return tl.where(size < 0.625, small, tl.where(x < 0, -large, large))


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def square_root(x):
    """The square root of x."""
    return tl.sqrt(x)


@triton.jit
def sine(x):
    """sin x."""
    return tl.sin(x)


@triton.jit
def cosine(x):
    """cos x."""
    return tl.cos(x)


@triton.jit
def positive(x):
    """x where it is above 0, else 0."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def absolute(x):
    """|x|."""
    return tl.abs(x)


@triton.jit
def sign(x):
    """-1, 0 or 1; 0 of NaN, as torch has it."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def greater(a, b):
    """The greater of two numbers."""
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def lesser(a, b):
    """The lesser of two numbers."""
    return tl.where((a < b) | (a != a), a, b)
