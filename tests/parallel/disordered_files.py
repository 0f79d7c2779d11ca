"""As `disordered_calls`: those of `hpcml.mpi`, and what reads and writes files."""

import itertools
from functools import partial

import numpy as np
import torch
from mpi4py import MPI

import hpcml.mpi
from hpcml import io
from hpcml.data.statistics import statistics
from hpcml.io.checkpoint import Checkpointer, SaveInterval
from hpcml.io.dataset import Description, Field, convert, create_dataset, open_dataset
from hpcml.io.dataset.growing import GrowingDataset
from hpcml.mpi.patient_comm import COLLECTIVE, patient
from tests.parallel.disordered_calls import Call, made, plain

ONE = np.ones(2)
ARGUMENTS = {
    "Allreduce": lambda c: (ONE, ONE.copy()),
    "Allgather": lambda c: (ONE, np.empty(2 * c.size)),
    "Bcast": lambda c: (ONE.copy(),),
    "Scan": lambda c: (ONE, ONE.copy()),
    "Reduce": lambda c: (ONE, ONE.copy()),
    "scatter": lambda c: ([0] * c.size,),
    "Split_type": lambda c: (MPI.COMM_TYPE_SHARED,),
    "alltoall": lambda c: ([0] * c.size,),
    "bcast": lambda c: (0,),
    "gather": lambda c: (0,),
    "allgather": lambda c: (0,),
    "allreduce": lambda c: (0,),
    "reduce": lambda c: (0,),
}
"""Of the collective methods of a communicator that wants some."""


def on_comm(name):
    return plain(lambda s: getattr(patient(s.comm), name)(*ARGUMENTS.get(name, lambda c: ())(s.comm)), name)


def raise_together(comm):
    with hpcml.mpi.raise_together(comm):
        pass


def in_place(setting):
    return hpcml.mpi.InPlaceSum(np.ones(3), setting.comm)


def close_world(setting):
    """Each call closes a world of its own, all of them made before."""
    worlds = iter([hpcml.mpi.World.of(setting.comm) for _ in range(8)])
    return lambda: next(worlds).close()


MPI_CALLS = {
    "all_sum": plain(lambda s: hpcml.mpi.all_sum(1.0, s.comm), "sum of"),
    "all_max": plain(lambda s: hpcml.mpi.all_max(1.0, s.comm), "maximum"),
    "all_min": plain(lambda s: hpcml.mpi.all_min(1.0, s.comm), "minimum"),
    "start_sum": plain(lambda s: hpcml.mpi.start_sum(1.0, s.comm).wait(), "sum in the background"),
    "InPlaceSum": made(in_place, "sum of"),
    "agree": plain(lambda s: hpcml.mpi.agree(True, s.comm), "agreement"),
    "agree_on_error": plain(lambda s: hpcml.mpi.agree_on_error(None, s.comm), "agreement"),
    "raise_together": plain(lambda s: raise_together(s.comm), "agreement"),
    "World.of": plain(lambda s: hpcml.mpi.World.of(s.comm), "Dup", "World: "),
    "World": plain(lambda s: hpcml.mpi.World(s.comm), "World: "),
    "World.close": Call(close_world, (), local=("forward",)),  # MPI frees what is its own
    **{f"PatientComm.{name}": on_comm(name) for name in ("Barrier", "Dup", "Split", "Split_type", *COLLECTIVE)},
}


def checkpoints(act, *words, **options):
    def make(setting):
        saver, step = Checkpointer(setting.folder, setting.comm, linger=0.5, **options), itertools.count(1)
        saver.save(0, {"w": torch.ones(3)})
        return partial(act, saver, step)

    return Call(make, words)


def stops(act, *words):
    return Call(lambda s: partial(act, hpcml.mpi.StopSignal(s.comm), s.comm), words)


def save_interval(setting):
    saver = Checkpointer(setting.folder, setting.comm, linger=0.5)
    interval, step = SaveInterval(saver, setting.comm, clock=itertools.count().__next__), itertools.count(1)
    saver.register("w", lambda: torch.ones(3), lambda w: None)
    return lambda: [interval.after_step(next(step)) for _ in range(5)]


STATE = {"w": torch.ones(3)}
CHECKPOINTS = {
    "Checkpointer": plain(lambda s: Checkpointer(s.folder / "more", s.comm, linger=0.5), "Checkpointer: "),
    "Checkpointer.save": checkpoints(lambda saver, step: saver.save(next(step), STATE), "Checkpointer.save"),
    "Checkpointer.save with parity": checkpoints(lambda saver, step: saver.save(next(step), STATE), "Checkpointer.save", losses=1),
    "Checkpointer.prepare": checkpoints(lambda saver, step: saver.prepare(), "Checkpointer.prepare"),
    "Checkpointer.wait": checkpoints(lambda saver, step: saver.wait(), "Checkpointer.wait"),
    "Checkpointer.latest": checkpoints(lambda saver, step: saver.latest(), "Checkpointer.latest"),
    "Checkpointer.restore": checkpoints(lambda saver, step: saver.restore(STATE), "Checkpointer.restore"),
    "SaveInterval": made(save_interval, "SaveInterval.after_step"),
    "restore": plain(lambda s: io.restore(s.folder, s.comm), "restore"),
    "StopSignal.agreed": stops(lambda stop, comm: stop.agreed(), "StopSignal.agreed"),
    "StopSignal.heard": stops(lambda stop, comm: stop.heard(comm), "StopSignal.heard"),
    "StopSignal.settle": stops(lambda stop, comm: stop.settle(), "StopSignal.settle"),
}
SPACE = Description("demo", (Field("u"),), 4, (0.0, 0.1), ((0.125, 0.375, 0.625, 0.875),), (True,))


def series(setting):
    domain = setting.domain()
    grid = io.UniformGrid.dealt(domain.global_shape, (1.0, 1.0), domain.process_grid.dims, domain.process_grid.coords)
    return io.Series(grid, [io.Field("u")])


def append(setting):
    writer, time = io.SnapshotWriter(setting.folder / "run.h5", series(setting), setting.comm), itertools.count()
    return lambda: writer.append(float(next(time)), {"u": np.ones(setting.domain().local_shape)})


def close_writer(setting):
    writers = iter([io.SnapshotWriter(setting.folder / f"run{k}" / "run.h5", series(setting), setting.comm) for k in range(4)])
    return lambda: next(writers).close()


def open_writer(setting):
    number = itertools.count()
    return lambda: io.SnapshotWriter(setting.folder / f"run{next(number)}" / "run.h5", series(setting), setting.comm)


def mesh(setting):
    return io.UnstructuredGrid.joined(np.eye(3)[:, :2], {"triangle": np.array([[0, 1, 2]])}, setting.comm)


def new_dataset(setting):
    number = itertools.count()
    return lambda: create_dataset(setting.folder / f"{next(number)}.hdf5", "the-well", SPACE, setting.comm)


def stored(act):
    """Something done to a dataset that is there."""

    def make(setting):
        path = setting.folder / "demo.hdf5"
        with create_dataset(path, "the-well", SPACE, setting.comm) as dataset:
            if setting.comm.rank == 0:
                for trajectory in range(4):
                    dataset.write(trajectory, 0, np.ones((2, 1, 4)))
                dataset.sync()
        return partial(act, setting, path, itertools.count(), open_dataset(path, setting.comm))

    return make


def finish(setting):
    number = itertools.count()
    growing = GrowingDataset(setting.folder / "demo.hdf5", SPACE, "a test", setting.comm)
    return lambda: growing.finish(next(number), setting.comm)


def grow(setting):
    number = itertools.count()
    return lambda: GrowingDataset(setting.folder / f"{next(number)}" / "demo.hdf5", SPACE, "a test", setting.comm)


FILES = {
    "GrowingDataset": made(grow, "GrowingDataset: "),
    "GrowingDataset.finish": made(finish, "GrowingDataset.finish"),
    "SnapshotWriter": made(open_writer, "SnapshotWriter: "),
    "SnapshotWriter.append": made(append, "SnapshotWriter.append"),
    "SnapshotWriter.close": made(close_writer, "SnapshotWriter.close"),
    "UnstructuredGrid.joined": plain(mesh, "UnstructuredGrid.joined"),
    "create_dataset": made(new_dataset, "create_dataset"),
    "open_dataset": made(stored(lambda s, path, number, data: open_dataset(path, s.comm)), "open_dataset"),
    "convert": made(stored(lambda s, path, n, data: convert(path, s.folder / f"{next(n)}.h5", "pdebench", s.comm)), "convert"),
    "statistics": made(stored(lambda s, path, number, data: statistics(data, s.comm)), "statistics"),
    "Dataset.read": Call(stored(lambda s, path, number, data: data.read(0)), (), local=("forward",)),
}
