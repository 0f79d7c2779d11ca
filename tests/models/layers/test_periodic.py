"""What a periodic grid is, every layer knows: shifting the input by whole cells shifts the output, and there is no seam."""

import pytest
import torch
from torch.nn import functional as F

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.fields import Grid, decompose
from hpcml.models import UNet, layers

RANKS = pytest.mark.parallel([1, 2, 4])
SHAPE = (12, 8)
ROUND_OFF = 1e-12  # float64, relative to the largest entry: the same sums on other cells


def assert_close(a, b):
    assert a.shape == b.shape and float((a - b).abs().max()) <= ROUND_OFF * float(b.abs().max())


def wrapped(x, width):
    """The whole field with cells of the other end all around."""
    return F.pad(x, (width,) * 4, mode="circular")


LAYERS = {
    # our layer with its option, and torch's on a field that was wrapped by hand, cut out again
    "bilinear": (
        lambda domain, p: layers.Interpolate(domain, size=(24, 16), mode="bilinear", periodic=p),
        lambda x: F.interpolate(wrapped(x, 2), scale_factor=2, mode="bilinear")[..., 4:-4, 4:-4],
    ),
    "bicubic": (
        lambda domain, p: layers.Interpolate(domain, scale_factor=2, mode="bicubic", periodic=p),
        lambda x: F.interpolate(wrapped(x, 4), scale_factor=2, mode="bicubic")[..., 8:-8, 8:-8],
    ),
    "average": (lambda domain, p: layers.AvgPool2d(domain, 3, 2, 1, periodic=p), lambda x: F.avg_pool2d(wrapped(x, 1), 3, 2)),
    "max": (lambda domain, p: layers.MaxPool2d(domain, 3, 1, 1, periodic=p), lambda x: F.max_pool2d(wrapped(x, 1), 3, 1)),
    "transposed": (
        lambda domain, p: layers.ConvTranspose2d(domain, 2, 3, 4, 2, 1, periodic=p),
        lambda x, w, b: F.conv_transpose2d(wrapped(x, 2), w, b, 2, 1)[..., 4:-4, 4:-4],
    ),
    "conv": (
        lambda domain, p: layers.Conv2d(domain, 2, 3, 5, padding=2, padding_mode="grid" if all(p) else ["zeros", "circular"]),
        lambda x, w, b: F.conv2d(wrapped(x, 2), w, b),
    ),
}


@RANKS
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_sees_the_other_end(comm, rng, name):
    build, expected = LAYERS[name]
    with decompose(Grid(SHAPE), comm) as domain:
        layer = build(domain, (True, True)).double()
        whole = torch.from_numpy(rng.standard_normal((2, 2, *SHAPE))).requires_grad_()
        block = whole.detach()[domain.index].clone().requires_grad_()
        y, serial = layer(block), expected(whole, *layer.parameters())
        c = torch.from_numpy(rng.standard_normal(serial.shape))
        where = layer.domain_out.index
        assert_close(y.detach(), serial.detach()[where])
        y.backward(c[where])
        serial.backward(c)
        assert_close(block.grad, whole.grad[domain.index])


@RANKS
@pytest.mark.parametrize("name", LAYERS)
def test_dims_that_are_not_periodic_keep_torchs_rule(comm, rng, name):
    """Periodic along the second dim only: rolling that one commutes, and rows far from it are those of the layer without the option."""
    build, _ = LAYERS[name]
    with decompose(Grid(SHAPE, periodic=(False, True)), comm) as domain:
        layer = build(domain, (False, True)).double()
        x = torch.from_numpy(rng.standard_normal((2, 2, *SHAPE)))
        whole, shifted = (layer.domain_out.gather(layer(f[domain.index]).detach()) for f in (x, x.roll(2, -1)))
        scale = whole.shape[-1] / SHAPE[-1]
        assert_close(shifted, whole.roll(int(2 * scale), -1))
        plain = build(domain, (False, False)) if name != "conv" else layers.Conv2d(domain, 2, 3, 5, padding=2)
        plain.double().load_state_dict(layer.state_dict())
        inner = whole.shape[-1] // 2
        assert_close(layer.domain_out.gather(plain(x[domain.index]).detach())[..., inner], whole[..., inner])


@RANKS
@pytest.mark.parametrize("periodic", [(True, True), (False, True)], ids=["periodic", "channel"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_unet_has_no_seam(comm, rng, periodic, norm):
    """Half the box is a multiple of the coarsest cell."""
    shape = (16, 24)
    with decompose(Grid(shape, periodic=periodic), comm) as domain:
        torch.manual_seed(0)
        model = UNet(domain, 2, 1, channels=4, levels=3, norm=norm).double()
        x = torch.from_numpy(rng.standard_normal((1, 2, *shape)))
        shifts = tuple(n // 2 if p else 0 for n, p in zip(shape, periodic, strict=True))
        with torch.no_grad():
            y, shifted = (domain.gather(model(f[domain.index].contiguous())) for f in (x, x.roll(shifts, (-2, -1))))
        assert_close(shifted, y.roll(shifts, (-2, -1)))


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("shape", [(24,), (16, 24), (8, 8, 16)], ids=["1d", "2d", "3d"])
@pytest.mark.parametrize("norm", ["group", "batch", "instance", "none"])
def test_a_unet_of_any_norm_has_no_seam_in_any_number_of_dims(comm, rng, norm, shape):
    with decompose(Grid(shape), comm) as domain:
        torch.manual_seed(0)
        model = UNet(domain, 2, 1, channels=4, levels=3, norm=norm).double()
        x = torch.from_numpy(rng.standard_normal((1, 2, *shape)))
        shifts, dims = tuple(n // 2 for n in shape), tuple(range(2, 2 + len(shape)))
        with torch.no_grad():
            y, shifted = (domain.gather(model(f[domain.index].contiguous())) for f in (x, x.roll(shifts, dims)))
        assert_close(shifted, y.roll(shifts, dims))


@pytest.mark.parallel([1, 2])
def test_what_has_no_meaning_is_refused(comm):
    with decompose(Grid(SHAPE), comm) as domain:
        with pytest.raises(ConfigError, match="align_corners"):
            layers.Interpolate(domain, scale_factor=2, mode="bilinear", align_corners=True, periodic=True)
        with pytest.raises(ShapeError, match="periodic cells of dim 0"):
            layers.ConvTranspose2d(domain, 2, 3, 3, 2, 1, periodic=True)
        with pytest.raises(ConfigError, match="one flag for each dim"):
            layers.AvgPool2d(domain, 3, periodic=(True,))
        with pytest.raises(ConfigError, match="one for each dim"):
            layers.Conv2d(domain, 2, 3, 3, padding_mode=("zeros",))
