"""Pairs from files: every rank gets its block, and what is wrong with a file is said on every rank."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core import case
from hpcml.core.errors import ConfigError, TrainingError
from hpcml.core.named import complete_config
from hpcml.data.moments import moments
from hpcml.data.tensor_files import read_pairs


def read(path, comm, grid=None, **names):
    spec = case.Tensors(kind="tensors", train=str(path), **names)
    return read_pairs(path, spec, grid, case.Ranks(), comm, torch.float32)


def write(comm, path, save=torch.save, **content):
    if comm.rank == 0:
        save(content, path)
    comm.Barrier()


@pytest.mark.parallel([1, 2, 3])
def test_blocks_of_a_torch_and_a_numpy_file(comm, shared_path):
    x, y = torch.arange(4 * 6 * 5).view(4, 6, 5) % 2 == 0, torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    write(comm, shared_path / "a.pt", x=x, y=y)
    write(comm, shared_path / "a.npz", save=lambda content, path: np.savez(path, **content), a=x.numpy(), b=y.numpy())
    for pairs in (read(shared_path / "a.pt", comm), read(shared_path / "a.npz", comm, input="a", target="b")):
        assert pairs.domain.global_shape == (6, 5) and pairs.inputs.dtype == torch.float32
        assert torch.equal(pairs.inputs, x.unsqueeze(1)[pairs.domain.index].float())
        assert torch.equal(pairs.targets, y.unsqueeze(1)[pairs.domain.index])


@pytest.mark.parallel([1, 2, 3])
def test_a_case_that_asks_for_the_same_bits_has_tiles_and_their_moments(comm, shared_path):
    x = torch.randn(4, 2, 7, 5, generator=torch.Generator().manual_seed(0))
    write(comm, shared_path / "a.pt", x=x, y=x)
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        spec = case.Tensors(kind="tensors", train=str(shared_path / "a.pt"))
        pairs = read_pairs(shared_path / "a.pt", spec, case.Grid(shape=(7, 5)), case.Ranks(same_bits=True), ranks, torch.float32)
        with pairs.domain:
            assert pairs.domain.tiles.total == 7 and pairs.domain.local_shape[1] == 5
            found.append([part.tolist() for part in moments(pairs.domain, pairs.inputs)])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"ranks": {"same_bits": True, "data": 2}}, "leave domain and data out"),
        ({"ranks": {"same_bits": True, "domain": [2, 1]}}, "leave domain and data out"),
        ({"ranks": {"same_bits": True}, "data": {"kind": "simulation"}, "grid": {"shape": [8]}, "equation": "heat"}, "data generate"),
    ],
)
def test_a_case_that_cannot_have_the_same_bits_says_so(tables, words):
    with pytest.raises(ConfigError, match=words):
        complete_config({"data": {"kind": "dataset", "path": "a"}, "model": "fno", **tables}, case.Case, "case")


@pytest.mark.parallel([1, 2])
def test_the_grid_says_where_channels_are(comm, shared_path):
    write(comm, shared_path / "a.pt", x=torch.zeros(4, 3, 8), y=torch.zeros(4, 8))
    pairs = read(shared_path / "a.pt", comm, case.Grid(shape=(8,), extent=2.0))
    assert pairs.inputs.shape[1] == 3 and pairs.targets.shape[1] == 1 and pairs.domain.grid.extent == (2.0,)


@pytest.mark.parallel([1, 2, 3])
def test_nan_is_found_by_the_rank_that_holds_it_and_named_by_all(comm, shared_path):
    y = torch.zeros(4, 6, 5)
    y[2, 5, 3] = float("nan")
    write(comm, shared_path / "nan.pt", x=torch.zeros(4, 6, 5), y=y)
    with pytest.raises(TrainingError, match=r"1 values of the targets are not finite, the first in sample 2, channel 0, cell \(5, 3\)"):
        read(shared_path / "nan.pt", comm)


@pytest.mark.parallel([1, 2])
def test_a_bad_file_is_named(comm, shared_path):
    write(comm, shared_path / "a.pt", x=torch.zeros(4, 6, 5), y=torch.zeros(3, 6, 5))
    write(comm, shared_path / "finer.pt", x=torch.zeros(4, 6, 5), y=torch.zeros(4, 12, 10))
    write(comm, shared_path / "complex.pt", x=torch.zeros(4, 6, 5, dtype=torch.complex64), y=torch.zeros(4, 6, 5))
    write(comm, shared_path / "truncated.pt", save=lambda _, path: path.write_bytes((shared_path / "a.pt").read_bytes()[:300]))
    for path, names, message in [
        ("missing.pt", {}, "no file"),
        ("a.pt", {}, "as many samples"),
        ("a.pt", {"input": "u"}, "holds x, y"),
        ("truncated.pt", {}, "cannot read"),
        ("finer.pt", {}, r"finer.pt: .* are on different grids, \(6, 5\) and \(12, 10\): bring both to the cells of one"),
        ("complex.pt", {}, "complex.pt: x should be a dense array of real numbers, got complex64"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read(shared_path / path, comm, **names)
