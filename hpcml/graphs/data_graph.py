"""Graphs of PyTorch Geometric, dealt to ranks with all that they carry, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.core.optional_module import optional_module
from hpcml.graphs.graph import Graph
from hpcml.graphs.hops import own_edges
from hpcml.graphs.mesh_share import deal_rows
from hpcml.graphs.row_bytes import as_rows, as_tensor
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.topology.directory import Directory


@dataclass(frozen=True, eq=False)
class DataGraph:
    """One rank's part of a graph with values at nodes and edges; made by `of`.

    Attributes
    ----------
    graph : Graph
        What models are built on.
    nodes, edges : mapping of str to Tensor
        Values at this rank's nodes, (node, ...), and on its edges, (edge, ...), types among them, by the names that they have in the data;
        what data join along another dim than the first (``__cat_dim__``, such as the last of pairs of nodes) has nodes or edges there.
    rest : mapping of str to object
        What belongs to the graph as a whole, the same on all ranks.
    dims : mapping of str to int
        Of nodes or edges in those values whose first dim they are not.
    """

    graph: Graph
    nodes: Mapping[str, Tensor]
    edges: Mapping[str, Tensor]
    rest: Mapping[str, Any]
    dims: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    @named_call
    def of(
        cls,
        data: Any,
        world: World | MPI.Intracomm,
        method: str | np.ndarray = "bisection",
        **how: Any,
    ) -> "DataGraph":
        """Deal a graph that the first rank of each group has; the others give None.

        Parameters
        ----------
        data : torch_geometric.data.Data or None
            With ``edge_index``, and ``pos`` (node, 1 to 3) for the methods that go by places; whatever else it has is kept. Nothing is
            imported: what has ``keys``, ``is_node_attr`` and ``is_edge_attr`` will do. A graph of several kinds of nodes comes from
            ``to_homogeneous()``.
        world : World or MPI.Intracomm
            All ranks.
        method : str or ndarray
            As for `Graph.deal`; an array is given by the first rank, for all nodes.
        **how
            Other options of `Graph.deal`.

        Raises
        ------
        ShapeError
            On every rank, for something else, or as `Graph.deal` does.

        Communication
        -------------
        Collective. The first rank sends each of the others a share.
        """
        shared = Decomposition.of(world, how.pop("data", 1), how.pop("device", None), how.pop("same_bits", False))
        comm, first = patient(shared.comm), shared.comm.rank == 0
        with raise_together(comm):
            kept = _Kept.of(data, method) if first else None
        form, rest, name = comm.bcast(None if kept is None else (kept.form, kept.rest, method if isinstance(method, str) else None))
        points, ends, parts, *rows = deal_rows(None if kept is None else kept.arrays, comm)
        graph = Graph.deal_within(shared, points, ends.T, parts if name is None else name, **how)
        values: dict[str, dict[str, Tensor]] = {"nodes": {}, "edges": {}}
        for (key, at, dtype, shape, dim), share in zip(form, rows, strict=True):
            mine, total = (graph.nodes, graph.num_points_global) if at == "nodes" else (graph.edges, graph.num_edges_global)
            before = sum(comm.allgather(len(share))[: comm.rank])
            table = Directory(np.arange(before, before + len(share)), share, total, comm)
            values[at][key] = as_tensor(table.ask(mine.cpu().numpy()), dtype, shape).movedim(0, dim).to(graph.device)
        return cls(graph, values["nodes"], values["edges"], rest, {key: dim for key, *_, dim in form if dim})

    @named_call
    def to_data(self) -> Any:
        """Put the whole graph together again, nodes and edges in the order in which they came.

        Returns
        -------
        torch_geometric.data.Data or None
            On the first rank of each group; None on the others.

        Raises
        ------
        ConfigError
            On every rank, without the package torch_geometric.

        Communication
        -------------
        Collective: everything comes to the first rank.
        """
        graph, comm = self.graph, patient(self.graph.comm)
        with raise_together(comm):
            module = optional_module("torch_geometric.data", "data of PyTorch Geometric need its package", "torch_geometric")
        ends = torch.from_numpy(own_edges(graph))
        of_edges, dims = {"edge_index": ends.T, **self.edges}, {"edge_index": -1, **self.dims}
        first = [{key: value.movedim(dims.get(key, 0), 0) for key, value in values.items()} for values in (self.nodes, of_edges)]
        tables = list(zip((graph.nodes, graph.edges), first, strict=True))
        mine = [(numbers.cpu().numpy(), [as_rows(value) for value in values.values()]) for numbers, values in tables]
        gathered = comm.gather(mine)
        if gathered is None:
            return None
        found = dict(self.rest)
        for (_, values), parts in zip(tables, zip(*gathered, strict=True), strict=True):
            order = np.argsort(np.concatenate([numbers for numbers, _ in parts]))
            for place, (key, value) in enumerate(values.items()):
                rows = np.concatenate([rows[place] for _, rows in parts])[order]
                found[key] = as_tensor(rows, value.dtype, tuple(value.shape[1:])).movedim(0, dims.get(key, 0)).contiguous()
        return module.Data(**found)


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is in the data of the first rank: arrays of rows, and how they become tensors again."""

    arrays: list[np.ndarray]
    form: list[tuple[str, str, torch.dtype, tuple[int, ...], int]]
    rest: dict[str, Any]

    @classmethod
    def of(cls, data: Any, method: str | np.ndarray) -> "_Kept":
        if not all(hasattr(data, name) for name in ("keys", "is_node_attr", "is_edge_attr", "num_nodes")):
            kind = type(data).__name__
            hint = "; call to_homogeneous() first" if hasattr(data, "node_types") else ""
            raise ShapeError(f"the first rank has a {kind}: expected torch_geometric.data.Data{hint}")
        keys = list(data.keys())
        if "edge_index" not in keys:
            raise ShapeError(f"the data have no edge_index, but {', '.join(keys)}: make edges first, such as by hpcml.graphs.Within")
        count, ends = int(data.num_nodes), data["edge_index"].detach().cpu().numpy()
        points = data["pos"].detach().double().cpu().numpy() if "pos" in keys else np.zeros((count, 1))
        parts = np.zeros(count, np.int64) if isinstance(method, str) else np.asarray(method)
        if len(parts) != count:
            raise ShapeError(f"a map of {count} nodes is an array of so many ranks, got {np.shape(method)}")
        arrays, form, rest = [points, ends.T, parts], [], {}
        for key in keys:
            value = data[key]
            at = "nodes" if data.is_node_attr(key) else "edges" if data.is_edge_attr(key) else ""
            if key == "edge_index":
                continue
            if not at or not isinstance(value, Tensor):
                rest[key] = value
                continue
            dim = data.__cat_dim__(key, value) if hasattr(data, "__cat_dim__") else 0
            first = value.movedim(dim, 0)
            arrays.append(as_rows(first))
            form.append((key, at, value.dtype, tuple(first.shape[1:]), dim))
        return cls(arrays, form, rest)
