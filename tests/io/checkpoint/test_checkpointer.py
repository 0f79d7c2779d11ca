"""What is saved comes back, on any number of ranks and any layout."""

import itertools
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from hpcml.core.errors import CheckpointError
from hpcml.io import Blocked, Checkpointer, Rows, restore
from hpcml.io.checkpoint.keeper.kept import Kept
from hpcml.topology.block import block_range

SHAPE = (7, 10)


def field(step):
    return (torch.arange(70.0, dtype=torch.float64) + 1000 * step).reshape(SHAPE)


def block(dims, rank, step=0):
    """Block of `field` on a process grid."""
    ranges = [block_range(n, p, c) for n, p, c in zip(SHAPE, dims, divmod(rank, dims[1]), strict=True)]
    offset = tuple(r.start for r in ranges)
    return Blocked(field(step)[tuple(slice(r.start, r.stop) for r in ranges)], offset, SHAPE)


def state(step, dims, rank):
    return {
        "model": {"w": torch.arange(50, dtype=torch.bfloat16).reshape(5, 10) * (step + 1), "b": np.float64(step)},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step)), "m": np.arange(33.0) + step}}, "groups": [{"betas": (0.9, 0.99)}]},
        "field": block(dims, rank, step),
        "random": Rows(torch.full((2, 3), rank + 10 * step)),
        "note": b"\x00raw",
    }


def assert_same(got, want):
    assert type(got) is type(want) or isinstance(want, Blocked | Rows)
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, Blocked | Rows):
        assert_same(got, want.array)
    elif isinstance(want, torch.Tensor | np.ndarray):
        assert got.dtype == want.dtype and got.shape == want.shape and bool((got == want).all())
    else:
        assert got == want


@pytest.mark.parallel([1, 2, 3])
def test_the_newest_of_several_saves_comes_back(comm, shared_path):
    dims = (comm.size, 1)
    with Checkpointer(shared_path, comm, keep=2) as checkpointer:
        assert checkpointer.restore() is None and checkpointer.latest() is None
        for step in (3, 5, 4):
            checkpointer.save(step, state(step, dims, comm.rank))
            checkpointer.wait()
        assert checkpointer.latest() == 4
        restored = checkpointer.restore(state(0, dims, comm.rank))
        assert restored.step == 4
        assert_same(restored.state, {**state(4, dims, comm.rank), "model": {**state(4, dims, comm.rank)["model"], "b": 4.0}})
        assert checkpointer.restore(step=5).step == 5
    assert len(list(shared_path.glob("step-*"))) == 2


@pytest.mark.parallel([4])
def test_any_layout_restores_on_any_layout(comm, shared_path):
    layouts = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (4, 1)]
    for writers in layouts:
        size = writers[0] * writers[1]
        folder = shared_path / f"{writers[0]}x{writers[1]}"
        part = comm.Split(0 if comm.rank < size else MPI.UNDEFINED)
        if part != MPI.COMM_NULL:
            with Checkpointer(folder, part) as checkpointer:
                checkpointer.save(1, state(1, writers, part.rank))
        comm.Barrier()
        for readers in layouts:
            part = comm.Split(0 if comm.rank < readers[0] * readers[1] else MPI.UNDEFINED)
            if part == MPI.COMM_NULL:
                continue
            want = state(1, readers, part.rank)
            got = restore(folder, part, like={"field": want["field"]}).state
            for key in ("field", "optimizer", "note"):
                assert_same(got[key], want[key])
            share = block_range(2 * size, part.size, part.rank)
            rows = np.repeat(np.arange(size), 2)[share.start : share.stop] if part.size != size else [part.rank] * 2
            assert np.array_equal(got["random"][:, 0], np.asarray(rows) + 10)
            part.Free()
        comm.Barrier()


@pytest.mark.parallel([1, 2, 3])
def test_a_window_with_halo_can_be_read(comm, shared_path):
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(0, {"field": block((comm.size, 1), comm.rank)})
    window = Blocked(torch.empty(4, 5, dtype=torch.float64), (2, 3), SHAPE)
    assert torch.equal(restore(shared_path, comm, like={"field": window}).state["field"], field(0)[2:6, 3:8])
    assert torch.equal(restore(shared_path, comm).state["field"], field(0))


@pytest.mark.parallel([1, 2, 3])
def test_each_replicated_byte_is_written_once(comm, shared_path):
    big = np.random.default_rng(0).random((64, 1024))
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(0, {"w": big})
    lengths = [path.stat().st_size for path in shared_path.glob("step-*/rank-*.h5")]
    # a file holds its rows and a header: at most one row of 8 KiB beyond the even share, and 32 KiB of header
    assert len(lengths) == comm.size and max(lengths) <= big.nbytes / comm.size + 8192 + 32768


@pytest.mark.parallel([1, 2])
def test_arrays_may_change_shape_between_saves(comm, shared_path):
    sizes = [1, 3, 2, 20]
    with Checkpointer(shared_path, comm, keep=len(sizes)) as checkpointer:
        for step, n in enumerate(sizes):
            checkpointer.save(step, {"buffer": Rows(np.full((n + comm.rank, 2), step)), "log": "x" * 1000 * n, "w": torch.zeros(n)})
            checkpointer.wait()
        for step, n in enumerate(sizes):
            got = checkpointer.restore(step=step).state
            assert got["buffer"].shape == (n + comm.rank, 2) and (got["buffer"] == step).all()
            assert len(got["log"]) == 1000 * n and got["w"].shape == (n,)


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("lazy", [False, True])
def test_registered_parts_are_collected_and_restored(comm, shared_path, lazy):
    def make(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        checkpointer = Checkpointer(shared_path, comm, lazy=lazy)
        checkpointer.register("model", model.state_dict, model.load_state_dict)
        checkpointer.register("optimizer", optimizer.state_dict, optimizer.load_state_dict)
        checkpointer.register("random", torch.random.get_rng_state, torch.random.set_rng_state)
        return checkpointer, model, optimizer

    def losses(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(torch.randn(16, 4)).square().mean()
            loss.backward()
            checkpointer.before_update()
            optimizer.step()
            yield loss.item()

    checkpointer, model, optimizer = make(seed=1)
    with checkpointer:
        list(losses(model, optimizer, 5))
        checkpointer.save(5)
        want = list(losses(model, optimizer, 20))
    checkpointer, model, optimizer = make(seed=2)
    with checkpointer:
        assert checkpointer.restore().step == 5
        assert list(losses(model, optimizer, 20)) == want


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("losses", [0, 1])
def test_a_lazy_copy_is_taken_before_the_update(comm, shared_path, losses):
    if comm.size == 1 and losses:
        with pytest.raises(CheckpointError, match="use larger groups"):
            Checkpointer(shared_path, comm, losses=losses)
        return
    w = torch.zeros(1 << 22)
    with Checkpointer(shared_path, comm, lazy=True, losses=losses, keep=9) as checkpointer:
        for step in range(1, 7):
            checkpointer.before_update()
            w += 1
            checkpointer.save(step, {"w": w})
            if step % 2:
                checkpointer.wait()
        for step in (1, 3, 5, 6):
            assert (checkpointer.restore(step=step).state["w"] == step).all()


@pytest.mark.parallel([2, 3])
def test_ranks_with_different_states_are_told_so(comm, shared_path):
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(0, {"w": np.zeros(3)})
        for state, what in (({"w": np.zeros(3 + comm.rank)}, "rank 0 holds w"), ({f"w{comm.rank}": 1}, "other entries than on rank 0")):
            with pytest.raises(CheckpointError, match=rf"^rank 1: .*{what}"):
                checkpointer.save(1, state)
        assert checkpointer.latest() == 0


@pytest.mark.parallel([1, 2])
def test_another_model_is_refused(comm, shared_path):
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(0, {"model": {"w": torch.zeros(3, 2)}})
        others = [torch.zeros(2, 3), torch.zeros(3, 2).double(), Blocked(torch.zeros(3, 2), (0, 0), (3, 2))]
        for like in [*({"model": {"w": other}} for other in others), {"model": {"v": torch.zeros(1)}}]:
            with pytest.raises(CheckpointError, match="model/[vw].*of another model"):
                checkpointer.restore(like)
        checkpointer.register("sampler", dict, lambda state: None)
        with pytest.raises(CheckpointError, match="holds no 'sampler'; it holds model"):
            checkpointer.restore()


def test_two_jobs_cannot_share_a_folder(tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF), pytest.raises(CheckpointError, match=r"is in use by process \d+ on .*own"):
        Checkpointer(tmp_path, MPI.COMM_SELF, patience=0.1)
    Checkpointer(tmp_path, MPI.COMM_SELF).close()


def test_keep_must_keep_something(tmp_path):
    with pytest.raises(CheckpointError, match="keep must be at least 1"):
        Checkpointer(tmp_path, MPI.COMM_SELF, keep=0)


def test_a_name_is_registered_once(tmp_path):
    with Checkpointer(tmp_path, MPI.COMM_SELF) as checkpointer:
        checkpointer.register("model", dict, lambda state: None)
        with pytest.raises(CheckpointError, match="'model' is registered already"):
            checkpointer.register("model", dict, lambda state: None)


def test_overlapping_blocks_are_refused(tmp_path):
    """Written by hand, as no process grid makes them."""
    from hpcml.io.checkpoint.state.box import Box
    from hpcml.io.checkpoint.state.load import _read_box
    from hpcml.io.checkpoint.state.plan import ArraySpec

    class Nothing:
        def open(self, rank):
            return {"state/u": np.zeros(4)}

    spec = ArraySpec("u", "numpy", "float64", "blocked", (6,))
    for first, cells in itertools.product((0, 1, 2), (4,)):
        pieces = [(0, Box((0,), (cells,))), (1, Box((4 - first,), (2 + first,)))]
        if first == 0:
            assert _read_box(pieces, spec, Box((0,), (6,)), Nothing()).shape == (6,)
        else:
            with pytest.raises(CheckpointError, match="neither overlap nor leave holes"):
                _read_box(pieces, spec, Box((0,), (6,)), Nothing())


@pytest.mark.parallel([1, 2])
def test_a_step_that_the_run_came_to_again_is_saved_anew(comm, shared_path):
    """Beside the earlier one, which is whole until the new one is."""
    with Checkpointer(shared_path, comm, keep=4) as checkpointer:
        for step, value in ((1, 1.0), (2, 2.0)):
            checkpointer.save(step, {"w": torch.tensor(value)})
            checkpointer.wait()
        assert checkpointer.restore(step=1).state["w"] == 1.0
        for step, value in ((2, 20.0), (1, 10.0), (2, 200.0)):
            checkpointer.save(step, {"w": torch.tensor(value)})
            checkpointer.wait()
            assert checkpointer.restore().state["w"] == value
    assert all(path.name.count("-") == 2 for path in shared_path.glob("step-*"))


@pytest.mark.parallel([1, 2])
def test_what_goes_wrong_at_the_start_or_the_end_gives_the_folder_back(comm, shared_path):
    with pytest.raises(CheckpointError, match="losses in a group of"):
        Checkpointer(shared_path, comm, losses=2, group_size=2)
    with pytest.raises(CheckpointError, match="disk"), Checkpointer(shared_path, comm) as checkpointer:

        def failing():
            raise CheckpointError("the disk fails")

        checkpointer.wait = failing
    with Checkpointer(shared_path, comm) as checkpointer:
        checkpointer.save(1, {})


@pytest.mark.parallel([1, 2])
def test_errors_of_one_rank_are_those_of_all(comm, shared_path, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied")

    def fail_on_the_last():
        if comm.rank == comm.size - 1:
            raise ValueError("the model is gone")

    with Checkpointer(shared_path, comm) as checkpointer, monkeypatch.context() as patch:
        patch.setattr("hpcml.io.checkpoint.restored.survey", refused)
        with pytest.raises(CheckpointError, match="Permission denied"):
            checkpointer.latest()
        checkpointer.register("model", fail_on_the_last, print)
        with pytest.raises(CheckpointError, match="the model is gone"):
            checkpointer.prepare()


@pytest.mark.parallel([1, 2])
def test_keepers_are_asked_once_whatever_this_node_has(comm, shared_path, monkeypatch):
    """On another node there may be none: whoever asks again there would wait for the others."""
    asked = []

    def find(*_):
        asked.append(comm.allgather(comm.rank))
        return [Kept(0, 1, {})] if comm.rank == 0 else []

    monkeypatch.setattr("hpcml.io.checkpoint.checkpointer.find_kept", find)
    with Checkpointer(shared_path, comm) as checkpointer:
        assert checkpointer.restore() is checkpointer.restore() is None and len(asked) == 1


def test_what_was_found_damaged_does_not_count_among_those_kept(tmp_path, monkeypatch):
    """By whatever name the folder is called, and after a keeper was lost."""
    monkeypatch.chdir(tmp_path)
    with Checkpointer("run", MPI.COMM_SELF, keep=3) as checkpointer:
        for step in (1, 2, 3):
            checkpointer.save(step, {"w": np.full(9, step)})
            checkpointer.wait()
    for path in Path("run").glob("step-00000000[23]-*/rank-00000.h5"):
        path.write_bytes(bytes(path.stat().st_size))
    with Checkpointer("run", MPI.COMM_SELF, keep=2) as checkpointer:
        assert checkpointer.restore().step == 1
        checkpointer._link._process.kill()
        checkpointer._link._process.wait()
        checkpointer.save(4, {"w": np.full(9, 4)})
        checkpointer.wait()
        checkpointer.save(5, {"w": np.full(9, 5)})
    assert {int(path.name.split("-")[1]) for path in Path("run").glob("step-*")} == {2, 3, 4, 5}


def test_a_rank_may_have_more_files_open_than_select_takes(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1300)), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with Checkpointer(tmp_path, MPI.COMM_SELF) as checkpointer:
            checkpointer.save(1, {"w": np.arange(3.0)})
            checkpointer.wait()
            assert checkpointer.latest() == 1
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
