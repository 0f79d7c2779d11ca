"""What only a GPU compiles, run thread by thread on the CPU: the same bits under any launch shape."""

import pytest
import torch

from hpcml.kernels import host, host_text, launch
from hpcml.kernels.box import PACK, UNPACK, BoxPlan
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.device import column_shape, launch_shape
from hpcml.kernels.stencil import STAR
from hpcml.kernels.stencil_twin import seven_point_twin

pytestmark = pytest.mark.skipif(not find_compiler(), reason="no C++ compiler")
SHAPES = [((1, 1, 1), (1, 1, 1)), ((3, 1, 1), (4, 1, 1)), ((2, 3, 2), (3, 2, 2)), ((2, 3, 9), (4, 1, 1))]


@pytest.fixture(autouse=True)
def text_of_a_gpu(monkeypatch):
    caches = launch._host_kernel, host._library
    assert "#define HPCML_HOST 1\n" in host_text._PRELUDE
    monkeypatch.setattr(host_text, "_PRELUDE", host_text._PRELUDE.replace("#define HPCML_HOST 1\n", ""))
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def noise(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("shape", [*SHAPES, column_shape((6, 5, 4))], ids=str)
def test_a_stencil_goes_from_plane_to_plane(shape):
    u, ours, expected = noise(2, 6, 7, 8), noise(2, 4, 5, 6), noise(2, 4, 5, 6)
    others = (2, 4, 5, 6, 120, 30, 6, 336, 56, 8, -6.0, 1.0, 2.0, 3.0)
    STAR[3](ours.zero_(), u, *others, extent=(6, 5, 4), shape=shape, imitate=True, backend="host")
    seven_point_twin(expected, u, *others)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("shape", [*SHAPES, launch_shape((16, 9, 3))], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_boxes_are_moved_by_some_words_at_a_time(shape, axis):
    field = noise(3, 40, 6, 70).movedim(1, 1 + axis).contiguous()
    n = field.shape[1 + axis]
    ends = [(0, (slice(None), *(slice(None),) * axis, at)) for at in (slice(1, 3), slice(n - 3, n - 1))]
    plan = BoxPlan([field], ends)
    ((types, table),) = plan._tables(PACK, 8, "cuda")
    buffer, back = torch.zeros(plan.nbytes // 8, dtype=torch.float64), torch.zeros_like(field)
    for kernel, to in ((PACK, field), (UNPACK, back)):
        options = {"extent": (1, 1, 1), "shape": shape, "imitate": True, "types": types, "backend": "host"}
        kernel(buffer, [to], torch.from_numpy(table), len(table), **options)
    parts = [field.narrow(1 + axis, start, 2) for start in (1, n - 3)]
    assert torch.equal(buffer, torch.cat([part.flatten() for part in parts]))
    for start, part in zip((1, n - 3), parts, strict=True):
        assert torch.equal(back.narrow(1 + axis, start, 2), part)
    assert back.count_nonzero() == sum(part.count_nonzero() for part in parts)
