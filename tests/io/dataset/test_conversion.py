"""From one layout to another and back, any number of ranks make the same file."""

import os
from dataclasses import replace

import numpy as np
import pytest

from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.io.dataset import Description, Field, convert, create_dataset, open_dataset, pdebench, the_well
from hpcml.io.dataset.growing import GrowingDataset

DIES = """
import os, sys, time

from hpcml.io.dataset.growing import GrowingDataset
from hpcml.cli.main import main
finish = GrowingDataset.finish
def dies(self, trajectory, comm):
    if trajectory == 2:
        time.sleep(30)
    finish(self, trajectory, comm)
    if trajectory == 0:
        os.kill(os.getpid(), 9)
GrowingDataset.finish = dies
main(["data", "convert", *sys.argv[1:], "--to", "the-well"])
"""


@pytest.mark.parallel([1, 2, 3])
def test_there_and_back(comm, shared_path, space, values):
    space, values = replace(space, fields=space.fields[:2]), values[:, :, :3]
    with create_dataset(shared_path / "a.hdf5", "the-well", space, comm) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)  # every rank the same
    comm.Barrier()
    convert(shared_path / "a.hdf5", shared_path / "b.h5", "pdebench", comm)
    assert convert(shared_path / "b.h5", shared_path / "c.hdf5", "the-well", comm) == space
    with open_dataset(shared_path / "b.h5", comm) as groups:
        assert groups.layout == "pdebench-groups" and np.array_equal(groups.read(1), values[1])
    assert (shared_path / "a.hdf5").read_bytes() == (shared_path / "c.hdf5").read_bytes()


@pytest.mark.parallel([1, 2])
def test_a_mistake_leaves_nothing_behind(comm, shared_path, space):
    create_dataset(shared_path / "a.hdf5", "the-well", space, comm).close()
    for target, family, kind, message in [
        ("b.hdf5", "pdebench", ConfigError, "PDEBench's arrays hold"),
        ("b.zarr", "the-well", ConfigError, "ends in .hdf5 or .h5"),
        ("b.hdf5", "netcdf", ConfigError, "no layout 'netcdf': expected the-well or pdebench"),
        ("a.hdf5", "the-well", ConfigError, "exists already"),
    ]:
        with pytest.raises(kind, match=message):
            convert(shared_path / "a.hdf5", shared_path / target, family, comm)
    with pytest.raises(CheckpointError, match="no dataset"):
        convert(shared_path / "none.hdf5", shared_path / "b.hdf5", "the-well", comm)
    comm.Barrier()
    assert [path.name for path in shared_path.iterdir()] == ["a.hdf5"]


def test_a_conversion_that_was_killed_goes_on(mpiexec, tmp_path, space, values, monkeypatch):
    source, target = tmp_path / "a.hdf5", tmp_path / "b.hdf5"
    with create_dataset(source, "the-well", space) as dataset:
        for trajectory, run in enumerate(values):
            dataset.write(trajectory, 0, run)
    done = mpiexec(2, "-c", DIES, source, target)  # the other rank writes, but waits before it says so
    assert done.returncode != 0 and not target.exists()
    assert (tmp_path / "b.hdf5.unfinished" / "b.hdf5.progress").read_bytes().splitlines()[-1] == b"x.."
    finished, finish = [], GrowingDataset.finish
    monkeypatch.setattr(GrowingDataset, "finish", lambda self, number, comm: finished.append(number) or finish(self, number, comm))
    stamp = source.stat().st_mtime_ns
    os.utime(source, ns=(stamp, stamp + 1))
    with pytest.raises(ConfigError, match="is of unfinished data of another case"):
        convert(source, target, "the-well")
    os.utime(source, ns=(stamp, stamp))
    assert convert(source, target, "the-well") == space and finished == [1, 2]
    assert target.read_bytes() == source.read_bytes() and sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "b.hdf5"]
    with pytest.raises(ConfigError, match="exists already"):
        convert(source, target, "the-well")
    assert not (tmp_path / "b.hdf5.unfinished").exists()


@pytest.mark.parametrize("room", [2, 4096])
@pytest.mark.parametrize("target", ["b.hdf5", "b.H5"])
def test_constants_units_and_boundaries_survive_the_way_to_pdebench_and_back(target, room, tmp_path, space, monkeypatch):
    """Numbers of each trajectory too, more of them than an attribute has room for, and with more digits than float32."""
    for module in (pdebench, the_well):
        monkeypatch.setattr(module, "ATTRIBUTE_NUMBERS", room)
    many = tuple(i / 3 for i in range(3))
    scalar = replace(
        space,
        fields=(replace(space.fields[1], unit="m"),),
        num_trajectories=len(many),
        constants={"nu": (0.1,), "seed": many, "start time": (float("inf"),)},
        coordinates=((0.25, 0.75),),
        periodic=(None,),
        times=(0.0,),
        time_unit="s",
        length_unit="km",
        dims=("r",),
    )
    create_dataset(tmp_path / "a.hdf5", "the-well", scalar).close()
    convert(tmp_path / "a.hdf5", tmp_path / target, "pdebench")
    back = convert(tmp_path / target, tmp_path / "c.hdf5", "the-well")
    if room < 3:  # The Well's own scalars are float32
        scalar = replace(scalar, constants=scalar.constants | {"seed": tuple(np.float32(many).astype(float).tolist())})
    assert back == scalar
    with open_dataset(tmp_path / "c.hdf5") as dataset:
        assert dataset.description == scalar


@pytest.mark.parametrize("layout", ["the-well", "pdebench"])
def test_many_trajectories_have_constants(layout, tmp_path):
    many = tuple(map(float, range(9000)))
    space = Description("demo", (Field("u"),), 9000, (0.0,), ((0.5,),), (True,), {"seed": many})
    with create_dataset(tmp_path / "a.hdf5", layout, space) as dataset:
        assert dataset.description.constants == {"seed": many}


def test_nothing_is_not_converted(tmp_path, space):
    create_dataset(tmp_path / "a.hdf5", "the-well", replace(space, num_trajectories=0)).close()
    with pytest.raises(ConfigError, match="the dataset demo is empty: it holds 0 trajectories of 4 times"):
        convert(tmp_path / "a.hdf5", tmp_path / "b.hdf5", "the-well")
