"""What does not fit, and which node is off, on ranks that take one another for nodes."""

import time

import pytest

from hpcml.mpi.world import World
from hpcml.runs import node_speeds, preflight


@pytest.fixture
def nodes(comm, monkeypatch):
    """A world in which every rank is on a node of its own."""
    monkeypatch.setattr(preflight.socket, "gethostname", lambda: f"n{comm.rank}.cluster")
    with World.of(comm) as world:
        world.local_rank, world.local_size, world.num_nodes = 0, 1, comm.size
        yield world


@pytest.mark.parallel([1, 2, 3])
def test_a_job_that_fits_is_described(nodes, shared_path):
    found = preflight.preflight(nodes, shared_path)
    text = "\n".join(found.lines)
    assert f"{nodes.size} ranks on {nodes.size} nodes" in text and "GPUs: none" in text and "a product of matrices: n0" in text
    assert ("1 MB between nodes: n0 - n1" in text) == (nodes.size > 1)
    assert not found.wrong and [*shared_path.iterdir()] == []


@pytest.mark.parallel([3])
def test_nodes_that_are_off_are_named(nodes, shared_path, monkeypatch):
    now, rank = time.time, nodes.rank
    monkeypatch.setattr(node_speeds.time, "time", lambda: now() + 60 * (rank == 2))
    monkeypatch.setattr(preflight, "product_ms", lambda: 5.0 if rank == 1 else 1.0)
    off = preflight.preflight(nodes, shared_path).off
    assert "n1 is off: a product of matrices 5 ms, the others 1 ms" in off
    assert any(text.startswith("n2 is off: its clock is ") and text.endswith(" s before that of n0") for text in off)


@pytest.mark.parallel([2])
def test_what_is_wrong_on_one_node_is_told_on_all(nodes, shared_path, monkeypatch):
    def full(folder):
        raise OSError(122, "Disk quota exceeded")

    if nodes.rank == 1:
        monkeypatch.setattr(preflight, "files_s", full)
        monkeypatch.setattr(preflight, "mpi_library", lambda: "MPICH 3.0.0")
    wrong = preflight.preflight(nodes, shared_path).wrong
    assert any("different versions of MPI" in text and "MPICH 3.0.0 on n1" in text for text in wrong)
    assert any(f"n1 cannot write to {shared_path}: Disk quota exceeded; the quota is used up" in text for text in wrong)


@pytest.mark.parallel([2])
def test_fewer_gpus_than_ranks_are_wrong(comm, shared_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(preflight, "_speeds", lambda *_: [])
    with World.of(comm) as world:
        world.__dict__["device"] = torch.device("cuda")
        (wrong,) = preflight.preflight(world, shared_path).wrong
    assert "2 ranks of " in wrong and "share 1 GPUs: ask for as many --gpus-per-node as --ntasks-per-node" in wrong
