"""A mesh of triangles dealt to ranks, with the operators of linear finite elements: in the plane, on a surface in space, in a periodic box.

u(x) = sum of u_j phi_j(x),      phi_j linear in each triangle, 1 at node j and 0 at the others
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ShapeError
from hpcml.graphs.ghost_plan import places_of
from hpcml.graphs.graph import Graph
from hpcml.graphs.mesh import Mesh
from hpcml.graphs.mesh_share import MeshShare
from hpcml.graphs.positions import shortest
from hpcml.mpi.agreement import raise_together
from hpcml.mpi.call import named_call
from hpcml.mpi.patient_comm import patient
from hpcml.mpi.world import World
from hpcml.parallel.decomposition import Decomposition
from hpcml.topology.directory import Directory, send_rows


class Triangles(Graph):
    """One rank's part of a mesh of triangles; made by `of`. A `Graph` whose edges are those of the triangles.

    A rank has all triangles that one of its nodes is a corner of, so what they give to its nodes is summed without another message, in the
    order of their numbers.

    Attributes
    ----------
    corners : Tensor
        int64, (triangle, 3): among own nodes and then ghosts.
    slopes : Tensor
        float64, (triangle, 3, dim): gradient of the function that is 1 at a corner and 0 at the others.
    sizes : Tensor
        float64, (triangle,): their areas.
    mass : Tensor
        float64, (node, 1): a third of the triangles around each of this rank's nodes.
    stiffness : Tensor
        float64, (node, 1): integral of the square of the gradient of each of this rank's nodes' functions, the diagonal of `stiff`.
    types : Tensor
        int64, (node,): which of ``type_names`` each of this rank's nodes is.
    type_names : tuple of str
        What the types mean.
    cells : dict of str to ndarray
        The triangles that this rank shows in files, global numbers of corners; each is on one rank.
    """

    corners: Tensor
    slopes: Tensor
    sizes: Tensor
    mass: Tensor
    stiffness: Tensor
    types: Tensor
    type_names: tuple[str, ...]
    cells: dict[str, np.ndarray]

    @classmethod
    @named_call
    def of(
        cls,
        mesh: Mesh | None,
        world: World | MPI.Intracomm | Decomposition,
        method: str | np.ndarray = "bisection",
        box: Sequence[float] | None = None,
    ) -> "Triangles":
        """Deal a mesh that the first rank of each group has; the others give None.

        Parameters
        ----------
        mesh : Mesh or None
            Of triangles only; of other ranks it is left alone.
        world : World, MPI.Intracomm or Decomposition
            The ranks.
        method, box
            As for `Graph.deal`.

        Raises
        ------
        ShapeError
            On every rank: no mesh, cells of another kind, a triangle without area.

        Communication
        -------------
        Collective. The first rank sends each of the others a share.

        Examples
        --------
        >>> from hpcml.graphs import triangulated
        >>> plane = Triangles.of(triangulated([[0, 0], [1, 0], [0, 1], [1, 1]]), MPI.COMM_SELF)
        >>> plane.slopes.shape, float(plane.mass.sum())
        (torch.Size([2, 3, 2]), 1.0)
        """
        shared = world if isinstance(world, Decomposition) else Decomposition.of(world)
        comm = patient(shared.comm)
        share = MeshShare.of(mesh, comm)
        with raise_together(comm):
            if list(share.cells) != ["triangle"]:
                raise ShapeError(f"finite elements here are triangles, got a mesh of {', '.join(share.cells) or 'no cells'}")
        graph = cls.deal_within(shared, share.points, share.edges(comm), method, box)
        first = sum(comm.allgather(len(share.points))[: comm.rank])
        numbers = np.arange(first, first + len(share.points))
        types = Directory(numbers, share.node_types.astype(np.int64), share.num_nodes, comm).ask(graph.nodes.cpu().numpy())
        graph.types, graph.type_names = torch.from_numpy(types).to(graph.device), share.type_names
        graph._take(share.cells["triangle"])
        return graph

    def at_corners(self, x: Tensor) -> Tensor:
        """Values at the corners of the triangles, ([sample,] triangle, 3, channel), of those at nodes.

        Communication
        -------------
        Neighbors, in the gradient too.
        """
        return self.with_ghosts(x).index_select(-2, self.corners.flatten()).unflatten(-2, (-1, 3))

    def gradient(self, at_corners: Tensor) -> Tensor:
        """Gradient in each triangle, ([sample,] triangle, dim, channel), of values at its corners.

        Communication
        -------------
        Local.
        """
        return torch.einsum("tkd,...tkc->...tdc", self.slopes.to(at_corners.dtype), at_corners)

    def at_nodes(self, at_corners: Tensor) -> Tensor:
        """What corners give to their nodes, summed: ([sample,] node, channel) of ([sample,] triangle, 3, channel).

        Communication
        -------------
        Local.
        """
        given = at_corners.flatten(-3, -2).index_select(-2, self._slots)
        return given.new_zeros(*given.shape[:-2], len(self.nodes), given.shape[-1]).index_add(-2, self._slot_nodes, given)

    def stiff(self, x: Tensor) -> Tensor:
        """Minus the Laplacian, times the area of each node: integral of the gradients' product with that of the node's function.

        Communication
        -------------
        Neighbors, in the gradient too.
        """
        known = self.with_ghosts(x).movedim(-2, 0)
        return (self._matrix.to(x.dtype) @ known.flatten(1)).unflatten(1, known.shape[1:]).movedim(0, -2)

    def _take(self, corners: np.ndarray) -> None:
        """Take the triangles at own nodes, of those that ranks have read."""
        comm, rank = patient(self.comm), self.comm.rank
        first = sum(comm.allgather(len(corners))[:rank])
        at = self.owners.ask(corners.ravel()).reshape(-1, 3)
        row, to = np.divmod(np.unique(np.arange(len(corners))[:, None] * comm.size + at), comm.size)
        ends, numbers, lowest = send_rows(to, comm, corners[row], first + row, at[row, corners[row].argmin(1)])
        order = np.argsort(numbers)
        known = torch.cat([self.nodes, self.ghosts]).cpu().numpy()
        self.cells = {"triangle": ends[order][lowest[order] == rank]}
        self.corners = torch.from_numpy(places_of(known, ends[order].ravel()).reshape(-1, 3)).to(self.device)
        self._measure()
        slots = self.corners.flatten()
        self._slots = torch.where(slots < len(self.nodes))[0]
        self._slot_nodes = slots[self._slots]
        self.mass = self.at_nodes((self.sizes / 3)[:, None, None].expand(-1, 3, 1))
        products = self.slopes @ self.slopes.mT * self.sizes[:, None, None]
        self.stiffness = self.at_nodes(products.diagonal(dim1=-2, dim2=-1)[..., None])
        self._matrix = self._assembled(products, len(known))

    def _measure(self) -> None:
        """Areas and slopes, from the first fundamental form of each triangle."""
        points = self.at_corners(self.positions)
        sides = shortest(points[:, 1:] - points[:, :1], self.box)
        form = sides @ sides.mT
        self.sizes = 0.5 * torch.linalg.det(form).clamp(min=0).sqrt()
        longest = form.diagonal(dim1=-2, dim2=-1).amax(-1) if len(form) else self.sizes
        flat = int((self.sizes <= 1e-10 * longest).sum())  # its slopes would be round-off
        with raise_together(self.comm):
            if flat:
                raise ShapeError(f"{flat} triangles have no area: move their corners, or drop them")
        upper = torch.linalg.solve(form, sides)
        self.slopes = torch.cat([-upper.sum(1, keepdim=True), upper], 1)

    def _assembled(self, products: Tensor, known: int) -> Tensor:
        """Sparse matrix of `stiff`, (node, node + ghost), of what each triangle gives to each pair of its corners."""
        end, begin = self.corners[:, :, None].expand(-1, 3, 3), self.corners[:, None].expand(-1, 3, 3)
        own, size = end < len(self.nodes), (len(self.nodes), known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its compressed rows new
            return torch.sparse_coo_tensor(torch.stack([end[own], begin[own]]), products[own], size).to_sparse_csr()
