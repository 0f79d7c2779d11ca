"""Random numbers that belong to a global index, not to a rank: the same on any number of ranks, in any order, on any device.

    word(seed, stream, i) = mix(key + (i + 1) gamma),   key = mix(seed + mix(hash of stream))

is the i-th output of SplitMix64 started at ``key``; ``mix`` is its finaliser, ``gamma`` the odd 64-bit integer nearest to 2^64 over the
golden ratio. A rank asks for the indices that it owns. Everything is made of integer operations and of additions, products and quotients
in float64, which round alike on every device: equal bits, not only equal numbers.

References
----------
G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014, doi:10.1145/2660193.2660195.
"""

import hashlib

import torch

from hpcml.core.errors import ConfigError
from hpcml.mpi.normal_quantile import normal_quantile

Stream = str | int | tuple[str | int, ...]

_GAMMA = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_DIGITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def bits(seed: int, stream: Stream, index: torch.Tensor) -> torch.Tensor:
    """64 random bits for each global index.

    Parameters
    ----------
    seed : int
        Of the run.
    stream : str, int or tuple of these
        What the numbers are for, such as ``("dropout", layer, step)``: streams are independent of one another.
    index : torch.Tensor, int64, any shape
        Global indices.

    Returns
    -------
    torch.Tensor, int64
        Of the shape and on the device of ``index``; all 64 bits count, so half of the numbers are negative.

    Raises
    ------
    ConfigError
        For a stream of another type, or an index that is not int64.

    Communication
    -------------
    Local.

    Notes
    -----
    Two streams are two stretches of one period of 2^64: that n numbers each of k streams overlap anywhere has probability n k^2 / 2^64.

    Examples
    --------
    >>> bits(0, "example", torch.arange(3))[1] == bits(0, "example", torch.tensor(1))
    tensor(True)
    """
    if index.dtype != torch.int64:
        raise ConfigError(f"random bits: expected an index of dtype int64, got {index.dtype}")
    return splitmix64(_key(seed, stream), index)


def uniform(seed: int, stream: Stream, index: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers evenly distributed over 0 <= u < 1: the leading bits of `bits`, as many as the dtype holds exactly.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> bool((uniform(0, "example", torch.arange(1000)) < 1).all())
    True
    """
    if dtype not in _DIGITS:
        raise ConfigError(f"random numbers: expected one of {', '.join(map(str, _DIGITS))}, got {dtype}")
    digits = _DIGITS[dtype]
    return _shift_right(bits(seed, stream, index), 64 - digits).to(dtype).mul_(2.0**-digits)


def normal(seed: int, stream: Stream, index: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Numbers of the standard normal distribution: its quantile function, in float64, at the middle of one of 2^52 equal intervals.

    Communication
    -------------
    Local.

    Notes
    -----
    The largest possible magnitude is 8.2.

    Examples
    --------
    >>> normal(0, "example", torch.arange(4)).shape
    torch.Size([4])
    """
    if dtype not in _DIGITS:
        raise ConfigError(f"random numbers: expected one of {', '.join(map(str, _DIGITS))}, got {dtype}")
    interval = _shift_right(bits(seed, stream, index), 12).to(torch.float64)
    return normal_quantile(interval.add_(0.5).mul_(2.0**-52)).to(dtype)


def permutation(seed: int, stream: Stream, size: int) -> torch.Tensor:
    """Random order of 0, ..., size - 1, the same on every rank.

    Returns
    -------
    torch.Tensor, int64, shape (size,)
        On the CPU.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> sorted(permutation(0, "epoch", 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.argsort(bits(seed, stream, torch.arange(size)), stable=True)


def splitmix64(key: int, index: torch.Tensor) -> torch.Tensor:
    """Outputs number ``index`` of SplitMix64 started at ``key``, as int64 with wrap-around.

    Communication
    -------------
    Local.
    """
    return _mix(index.add(1).mul_(_signed(_GAMMA)).add_(_signed(key)))


def _mix(word: torch.Tensor) -> torch.Tensor:
    for shift, factor in _MIX:
        word = word.bitwise_xor_(_shift_right(word, shift)).mul_(_signed(factor))
    return word.bitwise_xor_(_shift_right(word, 31))


def _shift_right(word: torch.Tensor, count: int) -> torch.Tensor:
    """Logical shift: torch's own keeps the sign."""
    return word.bitwise_right_shift(count).bitwise_and_((1 << (64 - count)) - 1)


def _signed(word: int) -> int:
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word


def _key(seed: int, stream: Stream) -> int:
    parts = stream if isinstance(stream, tuple) else (stream,)
    if not all(type(part) in (str, int) for part in parts):
        raise ConfigError(f"random stream: expected a str, an int or a tuple of these, got {stream!r}")
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return _mix_int(seed + _mix_int(int.from_bytes(digest, "little")))


def _mix_int(word: int) -> int:
    """What `_mix` does to each entry of a tensor."""
    word %= 2**64
    for shift, factor in _MIX:
        word = (word ^ word >> shift) * factor % 2**64
    return word ^ word >> 31
