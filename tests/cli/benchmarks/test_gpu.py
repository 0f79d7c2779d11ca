"""``hpcml bench gpu`` asks for a GPU, and measures what it promises; here, tiny things on the CPU."""

import json

import pytest
import torch

from hpcml.cli.benchmarks import gpu
from hpcml.cli.benchmarks.plain_fno import PlainFNO
from hpcml.cli.main import main
from hpcml.core.errors import DeviceError
from hpcml.fields import Grid, decompose
from hpcml.models import FNO

RATIOS = {"pack_vs_copy", "pack_last_vs_copy", "stencil_vs_copy", "fno_vs_plain", "checkpoint_vs_torch_save", "ipc_vs_staged"}


@pytest.mark.parallel([2])
def test_its_figures_are_there(comm, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "KIND", "cpu")
    monkeypatch.setattr(gpu, "SIZES", gpu.TINY)
    assert main(["bench", "gpu", "--json"]) == 0
    if comm.rank == 0:
        figures = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert all(figures[name] > 0 for name in RATIOS) and figures["device"] == "cpu" and "fno_vs_neuraloperator" in figures


@pytest.mark.parallel([2])
@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without a GPU, and there is one: the test above measures it")
def test_without_a_gpu_every_rank_says_so(world):
    with pytest.raises(DeviceError, match="rank 0 computes on the cpu"):
        gpu.run(world)


@pytest.mark.parallel([1])
def test_the_network_of_torch_alone_is_as_large(comm):
    with decompose(Grid((8, 8), periodic=True), comm) as domain:
        ours, plain = FNO(domain, channels=4, modes=2, layers=2), PlainFNO(4, 2, 2)
        numbers = [sum(torch.view_as_real(p).numel() if p.is_complex() else p.numel() for p in net.parameters()) for net in (ours, plain)]
        assert numbers[0] == numbers[1] and plain(torch.ones(1, 1, 8, 8)).shape == (1, 1, 8, 8)
