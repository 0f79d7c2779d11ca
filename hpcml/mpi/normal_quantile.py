"""The quantile function of the standard normal distribution, with the same bits on every device.

Library logarithms, and even square roots, differ in the last bit from one device to the next, and between the body and the tail of a
vector loop. Here are only additions, products and quotients, each its own kernel so that none is fused with another: IEEE 754 rounds
them alike everywhere.

References
----------
M. J. Wichura, Algorithm AS 241: the percentage points of the normal distribution, Applied Statistics 37 (1988), doi:10.2307/2347330.
"""

import math

import torch

# fmt: off
# Numerator and denominator, highest power first: around the median, in the tails, and beyond sqrt(-log p) = 5.
_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0),
)
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
     3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1.0),
)
_FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0),
)
# fmt: on
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCC  # float64 just below sqrt(1/2), as an integer
_HALF_EXPONENT = 0x1FF7_0000_0000_0000  # makes the halved integer of a float64 its square root within 6 %


def normal_quantile(p: torch.Tensor) -> torch.Tensor:
    """Value below which a standard normal variable lies with probability p.

    Parameters
    ----------
    p : torch.Tensor, float64, any shape
        Strictly between 0 and 1.

    Returns
    -------
    torch.Tensor, float64
        Of the same shape.

    Communication
    -------------
    Local.

    Notes
    -----
    Relative error about 1e-15, from rounding.

    Examples
    --------
    >>> normal_quantile(torch.tensor([0.5, 0.975], dtype=torch.float64))
    tensor([0.0000, 1.9600], dtype=torch.float64)
    """
    shape, p = p.shape, p.flatten()
    q = p - 0.5
    result = _rational(_CENTRE, 0.180625 - q * q).mul_(q)
    tail = torch.nonzero(q.abs() > 0.425).squeeze(-1)
    side = q[tail]
    root = _sqrt(_log(torch.where(side < 0, p[tail], 1.0 - p[tail])).neg_())
    far = torch.nonzero(root > 5.0).squeeze(-1)
    value = _rational(_TAIL, root - 1.6)
    value[far] = _rational(_FAR_TAIL, root[far] - 5.0)
    result[tail] = torch.where(side < 0, -value, value)
    return result.reshape(shape)


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: torch.Tensor) -> torch.Tensor:
    top, bottom = (_polynomial(c, x) for c in coefficients)
    return top.div_(bottom)


def _polynomial(coefficients: tuple[float, ...], x: torch.Tensor) -> torch.Tensor:
    value = torch.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value.mul_(x).add_(c)
    return value


def _log(x: torch.Tensor) -> torch.Tensor:
    """Natural logarithm of normal positive float64: x = 2^e m, sqrt(1/2) <= m < sqrt(2), log m = 2 artanh((m - 1) / (m + 1))."""
    bits = x.view(torch.int64)
    exponent = (bits - _SQRT_HALF_BITS).bitwise_right_shift_(52)
    m = (bits - exponent.bitwise_left_shift(52)).view(torch.float64)
    s = (m - 1.0).div_(m + 1.0)
    series = tuple(2.0 / (2 * k + 1) for k in reversed(range(12)))  # |s| < 0.172, and 0.172^24 < 1e-18
    return _polynomial(series, s * s).mul_(s).add_(exponent.to(torch.float64).mul_(math.log(2.0)))


def _sqrt(x: torch.Tensor) -> torch.Tensor:
    """Square root of normal positive float64 by Newton's method."""
    y = x.view(torch.int64).bitwise_right_shift(1).add_(_HALF_EXPONENT).view(torch.float64)
    for _ in range(5):  # errors 6e-2, 2e-3, 2e-6, 2e-12, then rounding
        y = (x / y).add_(y).mul_(0.5)
    return y
