"""The 24 cases on which other packages that share one field among ranks were measured: two ranks, the serial layer and its gradients."""

import pytest
import torch
from mpi4py import MPI
from torch import nn
from torch.nn import functional as F

from hpcml.fields import Grid, decompose
from hpcml.fields.fft import irfftn, rfftn, spectral_domain
from hpcml.models import layers
from hpcml.models.fno import FNO
from hpcml.models.verification.matrix_case import Function, MatrixCase, Reference, compare_case, like_torch
from hpcml.models.verification.matrix_windows import Staggered
from hpcml.models.verification.operator_matrix import BOUND

EVEN, UNEVEN, THIN = (32, 32), (33, 32), (4, 32)
CHANNELS = 4


class SerialMLP(nn.Module):
    """Two 1x1 convolutions with GELU between them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(CHANNELS, 16, 1), nn.Conv1d(16, CHANNELS, 1)])

    def forward(self, x):
        first, second = self.layers
        return F.conv2d(F.gelu(F.conv2d(x, first.weight[..., None], first.bias)), second.weight[..., None], second.bias)


class LowPass(nn.Module):
    """rfft2, a filter, irfft2."""

    def __init__(self, domain):
        super().__init__()
        self.domain = self.domain_out = domain

    def forward(self, x):
        modes = spectral_domain(self.domain)
        return irfftn(self.domain, rfftn(self.domain, x) * damping()[modes.index].to(x))


def damping():
    return torch.exp(-torch.arange(32.0 * 17) / 500).view(32, 17)


def low_pass(x):
    return torch.fft.irfft2(torch.fft.rfft2(x) * damping().to(x), s=EVEN)


def conv(shape, *args, **kwargs):
    return like_torch("Conv2d", shape, CHANNELS, CHANNELS, CHANNELS, *args, **kwargs)


def function(name, make, reference, shape=EVEN):
    return MatrixCase(name, "", shape, CHANNELS, make, lambda: Function(reference))


def fno(domain):
    return FNO(domain, CHANNELS, 2, channels=8, modes=6, layers=2)


CASES = {
    "conv3 p1": conv(EVEN, 3, padding=1),
    "conv1": conv(EVEN, 1),
    "1x1-GELU MLP": MatrixCase("ChannelMLP", "", EVEN, CHANNELS, lambda domain: layers.ChannelMLP(domain, CHANNELS, 16), SerialMLP),
    "conv5 dil2 p4": conv(EVEN, 5, dilation=2, padding=4),
    "uneven 33 rows": conv(UNEVEN, 3, padding=1),
    "batch 2": conv(EVEN, 3, padding=1, bias=False),  # the batch of every case is 2
    "reflect pad": conv(EVEN, 3, padding=1, padding_mode="reflect"),
    "replicate pad": conv(EVEN, 3, padding=1, padding_mode="replicate"),
    "GroupNorm even": like_torch("GroupNorm", EVEN, CHANNELS, 2, CHANNELS),
    "GroupNorm uneven": like_torch("GroupNorm", UNEVEN, CHANNELS, 2, CHANNELS),
    "bilinear x2": MatrixCase(
        "Interpolate", "", EVEN, CHANNELS,
        lambda domain: layers.Interpolate(domain, scale_factor=2, mode="bilinear"), lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    ),
    "avgpool2": like_torch("AvgPool2d", EVEN, CHANNELS, 2),
    "conv3 s2 p1, H=32": conv(EVEN, 3, stride=2, padding=1),
    "conv3 circular": conv(EVEN, 3, padding=1, padding_mode="circular"),
    "conv4 s2 p1": conv(EVEN, 4, stride=2, padding=1),
    "convT4 s2 p1": like_torch("ConvTranspose2d", EVEN, CHANNELS, CHANNELS, CHANNELS, 4, stride=2, padding=1),
    "conv3 s2 p1, H=34": conv((34, 32), 3, stride=2, padding=1),
    "BatchNorm (train)": like_torch("BatchNorm2d", EVEN, CHANNELS, CHANNELS),
    "InstanceNorm": like_torch("InstanceNorm2d", EVEN, CHANNELS, CHANNELS, affine=True),
    "torch.roll": function("Roll", lambda domain: layers.Roll(domain, (3, -5)), lambda x: torch.roll(x, (3, -5), (2, 3))),
    "x[1:]-x[:-1]": function("Slice", Staggered, lambda x: x[:, :, 1:] - x[:, :, :-1]),
    "rfft2/irfft2": function("FFT", LowPass, low_pass),
    "FNO": MatrixCase("FNO", "", EVEN, CHANNELS, fno, lambda: fno(decompose(Grid(EVEN), MPI.COMM_SELF))),
    "conv7 p3 with 2 rows/rank": conv(THIN, 7, padding=3),
}  # fmt: skip


def test_there_are_24():
    assert len(CASES) == 24


@pytest.mark.parallel([2])
@pytest.mark.parametrize("dtype", BOUND, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_equal_one(comm, name, dtype):
    case = CASES[name]
    found = compare_case(case, Reference(case, dtype), dtype, comm, (2, 1))
    assert isinstance(found, dict), found
    assert "gradient of the input" in found and max(found.values()) <= BOUND[dtype], found
