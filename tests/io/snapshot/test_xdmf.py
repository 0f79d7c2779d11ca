"""ParaView's reader shows every step at its time, at the coordinates of the cells, with their values; also while it is written."""

import xml.etree.ElementTree as ET

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import ConfigError
from hpcml.io import SnapshotFile, SnapshotWriter

support = pytest.importorskip("vtkmodules.util.numpy_support")


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_vtk_reads_what_ranks_wrote(num_dims, comm, shared_path, snapshots, read_xdmf):
    snapshots.write(shared_path / "run.h5", comm, 2, num_dims)
    if comm.rank == 0:
        steps = list(read_xdmf(shared_path / "run.xdmf"))
        assert [time for time, _ in steps] == [0.0, 0.5]
        cells, widths = snapshots.cells[:num_dims], [n / c for n, c in zip(snapshots.extent, snapshots.cells, strict=True)][:num_dims]
        image = steps[-1][1]
        assert image.GetDimensions() == (*cells, *(1,) * (3 - num_dims))
        assert image.GetOrigin()[:num_dims] == pytest.approx([dx / 2 for dx in widths])  # text of 17 digits and back
        assert image.GetSpacing()[:num_dims] == pytest.approx(widths)
        values = snapshots.in_files(1, num_dims)
        for name, expected in (("u sample 0", values["u"][0]), ("u sample 1", values["u"][1]), ("p", values["p"])):
            array = support.vtk_to_numpy(image.GetPointData().GetArray(name))
            assert np.array_equal(array, expected.ravel()) and array.dtype == expected.dtype


def test_the_file_is_whole_after_every_step(tmp_path, snapshots):
    with SnapshotWriter(tmp_path / "run.h5", snapshots.series(MPI.COMM_SELF), MPI.COMM_SELF) as writer:
        for step in range(12):
            writer.append(step, snapshots.content(step))
            times = [float(time.get("Value")) for time in ET.parse(tmp_path / "run.xdmf").iter("Time")]
            assert times == list(range(step + 1))
    snapshots.write(tmp_path / "run.h5", MPI.COMM_SELF, 3, after=0.0)
    assert [float(time.get("Value")) for time in ET.parse(tmp_path / "run.xdmf").iter("Time")] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["a&b", "<a> 'b\"", "a%b%%", "aünïcödé 模", "a:b", "x" * 200, "..h5"])
def test_any_name_of_the_file_is_text_and_not_markup(name, tmp_path, snapshots, read_xdmf):
    path = tmp_path / f"{name}.h5"
    snapshots.write(path, MPI.COMM_SELF, 2)
    (text,) = {
        item.text for item in ET.parse(path.with_suffix(".xdmf")).iter("DataItem") if item.get("Format") == "HDF" and "/p" in item.text
    }
    assert text == f"{path.name}:/p"
    expected = snapshots.in_files(1)["p"]
    with h5py.File(path) as file:
        assert np.array_equal(file["p"][1], expected)  # through the view, which names the parts
    assert np.array_equal(SnapshotFile(path).read("p", (1,)), expected)
    if ":" not in name:  # which ends the name of a file for VTK
        image = list(read_xdmf(path.with_suffix(".xdmf")))[-1][1]
        assert np.array_equal(support.vtk_to_numpy(image.GetPointData().GetArray("p")), expected.ravel())


@pytest.mark.parametrize("name", ["a\nb.h5", "a\x01b.h5", "a\udce4b.h5"])
def test_a_name_that_xml_cannot_hold_is_refused(name, tmp_path, snapshots):
    with pytest.raises(ConfigError, match="expected a name in UTF-8 without control characters"):
        snapshots.write(tmp_path / name, MPI.COMM_SELF, 1)
