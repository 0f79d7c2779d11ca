"""The mesh of a dataset, dealt to ranks row by row: each reads and writes its own rows, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI

from hpcml.core.errors import CheckpointError, ConfigError, ShapeError
from hpcml.io.dataset.description import Field
from hpcml.io.dataset.on_mesh import OnMesh
from hpcml.io.dataset.storage import Storage
from hpcml.io.dataset.stored_array import StoredArray
from hpcml.io.files.agree import together
from hpcml.io.files.confined_file import ConfinedFile
from hpcml.io.snapshot.unstructured_grid import CORNERS
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.seeds import bits
from hpcml.topology.block import BlockRange, block_range


@dataclass(frozen=True, slots=True)
class MeshRows:
    """What one rank holds of a mesh: any rows of its arrays, numbered through the ranks.

    Attributes
    ----------
    points : ndarray
        float64, (node, 1 to 3).
    edges : ndarray
        int64, (2, edge): global numbers of the nodes at which edges begin and end; both ways where values travel both ways.
    cells : mapping of str to ndarray
        By kind, one of `hpcml.io.snapshot.unstructured_grid.CORNERS`, the global numbers of corners in VTK's order, int64,
        (cell, corner). The same kinds on every rank; none for a graph that is no mesh.
    """

    points: np.ndarray
    edges: np.ndarray
    cells: Mapping[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """As they lie in the file, by name."""
        return {"points": self.points, "edges": self.edges.T, **{f"cells/{kind}": corners for kind, corners in self.cells.items()}}

    def describe(
        self,
        name: str,
        fields: Sequence[Field],
        num_trajectories: int,
        times: Sequence[float],
        comm: MPI.Intracomm,
        constants: Mapping[str, tuple[float, ...]] | None = None,
        time_unit: str = "",
        length_unit: str = "",
    ) -> OnMesh:
        """Index space of a dataset on this mesh.

        Raises
        ------
        ShapeError
            On every rank, for arrays of other shapes, or kinds that ranks do not share.

        Communication
        -------------
        Collective over comm.
        """
        comm = patient(comm)
        with raise_together(comm):
            _check(self)
        sizes = comm.allgather({key: len(array) for key, array in self.arrays().items()} | {"dims": self.points.shape[1]})
        with raise_together(comm):
            if any(other.keys() != sizes[0].keys() or other["dims"] != sizes[0]["dims"] for other in sizes):
                raise ShapeError(f"ranks hold rows of the same arrays of a mesh, got {', '.join(map(str, sizes))}")
        total = {key: sum(other[key] for other in sizes) for key in sizes[0]}
        with raise_together(comm):
            _check(self, total["points"])
        points = self.points.astype(np.float64)
        ends = comm.allgather((points.min(0, initial=np.inf), points.max(0, initial=-np.inf)))
        low, high = np.min([low for low, _ in ends], 0), np.max([high for _, high in ends], 0)
        return OnMesh(
            name,
            tuple(fields),
            num_trajectories,
            tuple(map(float, times)),
            tuple(zip(low.tolist(), high.tolist(), strict=True)),
            (None,) * self.points.shape[1],
            dict(constants or {}),
            time_unit=time_unit,
            length_unit=length_unit,
            fingerprint=fingerprint(self, comm),
            num_nodes=total["points"],
            num_edges=total["edges"],
            num_cells={kind: total[f"cells/{kind}"] for kind in self.cells},
        )


def fingerprint(rows: MeshRows, comm: MPI.Intracomm) -> str:
    """64 bits that another mesh hardly has: sums over ranks of random bits, each of a number in a file and of its place.

    Communication
    -------------
    Collective over comm: two gathers.
    """
    comm = patient(comm)
    arrays = {"points": rows.points.astype(np.float64).view(np.int64), "edges": rows.edges.T}
    before = comm.allgather({name: len(array) for name, array in arrays.items()})[: comm.rank]
    word = 0
    for name, array in arrays.items():
        first, width = sum(sizes[name] for sizes in before), array.shape[1]
        place = torch.arange(first * width, (first + len(array)) * width)
        value = torch.from_numpy(np.ascontiguousarray(array, np.int64).reshape(-1))
        word += int(bits(0, name, bits(0, "place", place) ^ value).sum())
    return f"{sum(comm.allgather(word)) % 2**64:016x}"


def check_mesh(layout: str, mesh: MeshRows | None, comm: MPI.Intracomm) -> None:
    """Raise `ConfigError` on every rank unless all have rows of a mesh where the layout has one.

    Communication
    -------------
    Collective over comm: an agreement.
    """
    with raise_together(comm):
        if (layout == "mesh") != (mesh is not None):
            raise ConfigError("a dataset of the layout mesh, and no other, has a mesh: give this rank's rows of it as mesh=, see MeshRows")


def write_rows(path: Path, rows: MeshRows, comm: MPI.Intracomm) -> None:
    """Write the mesh into a dataset that was made for it.

    Raises
    ------
    CheckpointError
        On every rank: the file cannot be written.
    ShapeError
        On every rank: it was made for another mesh.

    Communication
    -------------
    Collective over comm.
    """
    comm = patient(comm)
    arrays = rows.arrays()
    stored, made_for = _stored(path, comm)
    sizes_of = comm.allgather({name: len(array) for name, array in arrays.items()})
    before, total = sizes_of[: comm.rank], {name: sum(sizes[name] for sizes in sizes_of) for name in arrays}
    with raise_together(comm):
        if total != {name: array.shape[0] for name, array in stored.items()}:
            raise ShapeError(f"{path} was made for a mesh of { ({n: a.shape[0] for n, a in stored.items()}) }, and ranks give {total}")
    given = fingerprint(rows, comm)
    with raise_together(comm):
        if given != made_for:
            raise ShapeError(
                f"{path} was made for another mesh of as many nodes and edges: describe the dataset by the rows that are written"
            )
    with together(comm, f"writing the mesh of {path}"):
        storage = Storage(writable=True)
        try:
            for name, array in arrays.items():
                first = sum(sizes[name] for sizes in before)
                if not array.size:
                    continue
                storage.write(stored[name], [BlockRange(first, first + len(array)), BlockRange(0, array.shape[1])], array)
            storage.sync()
        finally:
            storage.close()


def read_rows(path: Path, space: OnMesh, comm: MPI.Intracomm) -> MeshRows:
    """Read this rank's share of the rows of each array of a dataset's mesh.

    Parameters
    ----------
    path : Path
        The file.
    space : OnMesh
        What it holds.
    comm : MPI.Intracomm
        The ranks that share the rows.

    Raises
    ------
    CheckpointError
        On every rank: the file cannot be read, or its mesh is another than it says.

    Communication
    -------------
    Collective over comm; every rank reads its rows.
    """
    (stored, _), storage = _stored(path, comm), Storage()
    found: dict[str, np.ndarray] = {}
    with together(comm, f"reading the mesh of {path}"):
        try:
            for name, array in stored.items():
                share = block_range(array.shape[0], comm.size, comm.rank)
                found[name] = storage.read(array, [share, BlockRange(0, array.shape[1])])
        finally:
            storage.close()
    cells = {name.removeprefix("cells/"): array for name, array in found.items() if name.startswith("cells/")}
    rows = MeshRows(found["points"], found["edges"].T, cells)
    with together(comm, f"checking the mesh of {path}"):
        _check(rows, space.num_nodes)
    same = fingerprint(rows, comm) == space.fingerprint
    with raise_together(comm):
        if not same:
            raise CheckpointError(f"{path}: its mesh is not the one that it was made with, so values belong elsewhere: write it anew")
    return rows


def _stored(path: Path, comm: MPI.Intracomm) -> tuple[dict[str, StoredArray], str]:
    """Where the arrays of the mesh lie, and its fingerprint."""
    found: tuple[dict[str, StoredArray], str] = {}, ""
    with together(comm, f"reading the structure of {path}"):
        if comm.rank == 0:
            with ConfinedFile(path, locking=False) as file:
                names = ["points", "edges", *(f"cells/{kind}" for kind in file["mesh/cells"])]
                found = {name: StoredArray.of(file.numbers(f"mesh/{name}")) for name in names}, str(file.attrs["fingerprint"])
    stored: tuple[dict[str, StoredArray], str] = patient(comm).bcast(found)
    return stored


def _check(rows: MeshRows, nodes: int | None = None) -> None:
    """Refuse arrays of other shapes and types, and where the number of nodes is known, others than these."""
    for name, numbers in [("edges", rows.edges), *rows.cells.items()]:
        if nodes is not None and numbers.size and not 0 <= numbers.min() <= numbers.max() < nodes:
            raise ShapeError(f"{name} of a mesh of {nodes} nodes refer to nodes {numbers.min()} to {numbers.max()}: numbers begin at 0")
    if rows.points.size and not np.isfinite(rows.points).all():
        raise ShapeError("points of a mesh are finite: mend those that are not")
    if rows.points.ndim != 2 or rows.points.shape[1] not in (1, 2, 3):
        raise ShapeError(f"points of a mesh are (node, 1 to 3), got an array of shape {rows.points.shape}")
    if rows.edges.ndim != 2 or len(rows.edges) != 2 or rows.edges.dtype.kind not in "iu":
        raise ShapeError(f"edges of a mesh are integers, (2, edge), got {rows.edges.dtype} of shape {rows.edges.shape}")
    for kind, corners in rows.cells.items():
        if kind not in CORNERS or corners.ndim != 2 or corners.shape[1] != CORNERS[kind] or corners.dtype.kind not in "iu":
            expected = ", ".join(f"{known} (cell, {count})" for known, count in CORNERS.items())
            raise ShapeError(f"cells of a mesh are integers, {expected}; got {kind!r}, {corners.dtype} of shape {corners.shape}")
