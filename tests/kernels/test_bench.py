"""The benchmark compares like with like and names what it promises."""

import torch

from hpcml.kernels import bench


def test_every_promised_comparison_is_made_and_torch_keeps_its_threads(monkeypatch):
    monkeypatch.setattr(bench, "IN_A_ROW", 1)
    threads = torch.get_num_threads()
    comparisons = {c.name: c for c in bench.compare_kernels(rounds=1)}
    promised = {"stencil7_vs_numpy", "stencil7_vs_torch", "segment_vs_torch", "pack_vs_elements"}
    assert promised <= comparisons.keys() and torch.get_num_threads() == threads
    assert all(c.ratio == c.other_s / c.kernel_s > 0 for c in comparisons.values())
