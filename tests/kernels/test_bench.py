"""The benchmark compares like with like and names what it promises."""

import numpy as np
import torch

from hpcml.kernels import bench
from hpcml.kernels.sor import sor_half_sweep


def test_every_promised_comparison_is_made_and_torch_keeps_its_threads(monkeypatch):
    monkeypatch.setattr(bench, "IN_A_ROW", 1)
    threads = torch.get_num_threads()
    comparisons = {c.name: c for c in bench.compare_kernels(rounds=1)}
    promised = {"stencil7_vs_numpy", "stencil7_vs_torch", "sor_vs_numpy", "segment_vs_torch", "pack_vs_elements"}
    assert promised <= comparisons.keys() and torch.get_num_threads() == threads
    assert all(c.ratio == c.other_s / c.kernel_s > 0 for c in comparisons.values())


def test_the_rival_of_sor_relaxes_as_sor_does():
    rng = np.random.default_rng(0)
    ours, f = rng.standard_normal((10, 10, 10)), rng.standard_normal((8, 8, 8))
    theirs = ours.copy()
    for colour in (0, 1):
        sor_half_sweep(ours, f, -6.0, (1.0, 1.0, 1.0), 1.5, colour)
    bench._sor_slices(theirs, f, 1.5)
    # The rival adds the six neighbors in another order and divides: a few units in the last place of values up to 5.
    assert np.abs(ours - theirs).max() < 1e-14
