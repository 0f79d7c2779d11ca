"""Random numbers depend on seed, stream and global index alone, and look random along each of the three."""

import math

import pytest
import torch

from hpcml.core.errors import ConfigError
from hpcml.mpi.seeds import bits, normal, permutation, splitmix64, uniform
from hpcml.topology.block import block_range

N = 1 << 18
SIGMAS = 5.0  # a sample moment off by more than five standard deviations has probability 6e-7; the numbers never change


def correlation(x, y):
    return float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))


def test_the_generator_is_splitmix64():
    """First outputs for key 1234567, as published with the reference implementation."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [word % 2**64 for word in splitmix64(1234567, torch.arange(5)).tolist()] == expected


def test_the_numbers_never_change():
    """Runs of earlier versions must be reproducible: these values are a promise."""
    index = torch.tensor([0, 1, 2**40])
    assert bits(0, "field", index).tolist() == [-4588389711911059304, -3734777516528842654, 2892307148261789983]
    z = normal(1, ("dropout", 3), index, torch.float64)
    assert [x.hex() for x in z.tolist()] == ["-0x1.513af5fda2472p-4", "0x1.18b7eb8cb7506p-3", "-0x1.a2a8209d71babp+0"]


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("draw", [bits, uniform, normal])
def test_ranks_draw_the_numbers_of_their_indices(comm, draw):
    whole = draw(7, "field", torch.arange(1003))
    own = block_range(1003, comm.size, comm.rank)
    assert torch.equal(draw(7, "field", torch.arange(own.start, own.stop)), whole[own.start : own.stop])


@pytest.mark.parallel([1, 2, 3])
def test_the_permutation_is_the_same_on_all_ranks(comm):
    order = permutation(3, ("epoch", 1), 100)
    assert sorted(order.tolist()) == list(range(100)) and order.tolist() != list(range(100))
    assert comm.allgather(order.tolist()) == [order.tolist()] * comm.size
    assert permutation(3, ("epoch", 2), 100).tolist() != order.tolist()
    assert permutation(3, "none", 0).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_uniform_numbers_fill_the_unit_interval(dtype):
    u = uniform(0, "u", torch.arange(N), dtype)
    assert u.dtype == dtype and float(u.min()) >= 0.0 and float(u.max()) < 1.0
    u = u.double()
    resolution = 2.0**-8  # bfloat16 has numbers only below their interval
    assert abs(float(u.mean()) - 0.5) < SIGMAS / math.sqrt(12 * N) + (resolution / 2 if dtype == torch.bfloat16 else 2.0**-12)
    counts = torch.histc(u, bins=64, min=0.0, max=1.0)
    chi_squared = float(((counts - N / 64) ** 2 / (N / 64)).sum())
    assert chi_squared < 63 + SIGMAS * math.sqrt(2 * 63)


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    z = normal(0, "z", torch.arange(N), torch.float64)
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs(float((z**power).mean()) - moment) < SIGMAS * math.sqrt(variance / N)


@pytest.mark.parametrize("distance", [1, 2, 64, 4096])
def test_neighboring_indices_are_uncorrelated(distance):
    u = uniform(0, "u", torch.arange(N + distance), torch.float64)
    assert abs(correlation(u[:N], u[distance:])) < SIGMAS / math.sqrt(N)


@pytest.mark.parametrize(("one", "other"), [((0, "u"), (0, "v")), ((0, "u"), (1, "u")), ((0, ("u", 1)), (0, ("u", 2))), ((0, 1), (1, 0))])
def test_streams_and_seeds_are_uncorrelated(one, other):
    index = torch.arange(N)
    assert abs(correlation(normal(*one, index, torch.float64), normal(*other, index, torch.float64))) < SIGMAS / math.sqrt(N)


def test_every_bit_is_fair():
    words = bits(5, "bits", torch.arange(N))
    ones = torch.stack([(words >> k) & 1 for k in range(64)]).sum(1)
    assert float((ones - N / 2).abs().max()) < SIGMAS * math.sqrt(N) / 2


def test_streams_that_look_alike_are_not():
    index = torch.arange(4)
    streams = ["1", 1, ("1",), (1, 2), (12,), ("a", "b"), ("ab",), "a', 'b"]
    distinct = {tuple(bits(0, stream, index).tolist()) for stream in streams}
    assert len(distinct) == len(streams) - 1  # a name alone and a tuple of that one name are the same stream


@pytest.mark.parametrize("stream", [1.5, True, ("a", 0.5), None])
def test_a_stream_must_be_told_apart_for_certain(stream):
    with pytest.raises(ConfigError, match="random stream"):
        bits(0, stream, torch.arange(3))


def test_wrong_dtypes_are_named():
    with pytest.raises(ConfigError, match="int64, got torch.int32"):
        bits(0, "u", torch.arange(3, dtype=torch.int32))
    for draw in (uniform, normal):
        with pytest.raises(ConfigError, match="got torch.int64"):
            draw(0, "u", torch.arange(3), torch.int64)


@pytest.mark.gpu
@pytest.mark.parametrize("draw", [bits, uniform, normal])
def test_the_gpu_draws_the_same_bits(draw, gpu):
    index = torch.arange(N)
    assert torch.equal(draw(7, "field", index.to(gpu)).cpu(), draw(7, "field", index))
