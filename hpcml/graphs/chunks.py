"""Chunks of a graph, each computed as if it were alone, with what the others last had: this time where they have been, else the last time.

    h_c = f(h_c, h_d of this pass for chunks d before c, h_d of the last pass for chunks d behind c)

J. Chen, Z. Chen, X. Qian, GNNPipe: scaling deep GNN training with pipelined model parallelism, arXiv:2308.10087.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.errors import ConfigError
from hpcml.graphs.ghost_plan import GhostPlan
from hpcml.graphs.graph import Graph
from hpcml.graphs.history import History
from hpcml.graphs.partitioning import partition
from hpcml.graphs.schedule import SYNCHRONOUS, Schedule
from hpcml.kernels.segment import Edges


class Remembered(Schedule):
    """Synchronous, where a graph is computed as a whole; hears which samples its chunks are computed for."""

    def __init__(self) -> None:
        self.history = History()

    def visit(self, samples: Sequence[int]) -> None:
        """Say which samples are computed next, by numbers that are theirs in every epoch."""
        self.history.visit(samples)


class Chunks:
    """A graph, of which each rank cuts its nodes into as many chunks by recursive bisection.

    Parameters
    ----------
    graph : Graph
        The graph.
    number : int
        Of chunks.

    Attributes
    ----------
    chunks : list of Chunk
        The chunks.

    Communication
    -------------
    Making them: ghosts once, and what is sent to whom.
    """

    def __init__(self, graph: Graph, number: int) -> None:
        self.graph, self.chunks = graph, list[Chunk]()
        cut = partition(graph.positions.cpu().numpy(), np.zeros((2, 0), np.int64), number, MPI.COMM_SELF)
        own = torch.from_numpy(cut).to(graph.device)
        every = graph.with_ghosts(own[:, None].double())[:, 0].long()
        for c in range(number):
            self.chunks.append(graph.once(("chunk", number, c), partial(Chunk, graph, every, c)))

    def begin(self, history: History, order: Sequence[int]) -> "ChunkPass":
        """A forward pass in some order."""
        return ChunkPass(self, history, list(order))


class ChunkPass:
    """What the chunks of one forward pass have had at each place where ghosts were asked for.

    Attributes
    ----------
    order : list of int
        Of the chunks.
    """

    def __init__(self, chunks: Chunks, history: History, order: list[int]) -> None:
        self.order, self.history, self.samples = order, history, history.samples
        self._chunks, self._had = chunks, {c: list[tuple[Tensor, Tensor]]() for c in order}

    def start(self, number: int) -> "Chunk":
        """The chunk that is computed next."""
        chunk = self._chunks.chunks[number]
        chunk.passing = self
        return chunk

    def rows(self, chunk: "Chunk", here: Tensor) -> list[Tensor]:
        """What the edges of a chunk begin at, source by source, at the next place."""
        had = self._had[chunk.which]
        place = len(had)
        had.append((here, here.detach().requires_grad_(here.requires_grad)))
        found, known = [], None
        for number, places in chunk.sources.items():
            if number == chunk.which:
                found.append(here.index_select(0, places))
            elif place < len(self._had[number]):
                found.append(self._had[number][place][1].index_select(0, places))
            else:
                known = self.history.known(str(place), self.samples) if known is None else known
                assert known is not None
                found.append(known.index_select(0, self._chunks.chunks[number].places.index_select(0, places)))
        return found

    def slopes(self, number: int) -> tuple[list[Tensor], list[Tensor]]:
        """What a chunk had, and the gradients that chunks behind it have left for that."""
        varied = [(here, leaf) for here, leaf in self._had[number] if here.requires_grad]
        return [here for here, _ in varied], [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for _, leaf in varied]

    def forget(self, number: int) -> None:
        """Let the graph of a chunk go, after its gradients."""
        self._had[number] = []

    def remember(self) -> None:
        """Keep what all chunks had for the next pass over these samples."""
        chunks, graph = self._chunks.chunks, self._chunks.graph
        for place in range(len(self._had[self.order[0]])):
            like = self._had[self.order[0]][place][1]
            table = like.new_empty(len(graph.nodes) + len(graph.ghosts), *like.shape[1:])
            for number in self.order:
                table[chunks[number].places] = self._had[number][place][1].detach()
            self.history.keep(str(place), table, self.samples)


class Chunk(Graph):
    """Some nodes of a graph and the edges that end there: to layers that ask for ghosts and nothing else, a graph.

    Attributes
    ----------
    which : int
        Its number among the chunks.
    places : Tensor
        int64: its own nodes and then its ghosts on this rank, wherever they are needed, among own nodes and ghosts of the graph.
    rows : Tensor
        int64: its own nodes among those of the graph.
    sources : dict of int to Tensor
        For each chunk at which some of its edges begin, the places of these among that chunk's.
    """

    passing: ChunkPass

    def __init__(self, graph: Graph, chunk_of: Tensor, which: int, tag: int) -> None:
        own, (begin, end) = len(graph.nodes), graph.edge_index
        self.__dict__.update({key: value for key, value in graph.__dict__.items() if key not in ("along", "_tiled")})
        self.which, mine = which, chunk_of == which
        self.places = torch.nonzero(mine).flatten()
        self.rows = self.places[self.places < own]
        edges = torch.nonzero(mine[end]).flatten()
        in_chunk = torch.zeros_like(chunk_of)  # place of every node among those of its own chunk
        for c in chunk_of.unique():
            of = torch.nonzero(chunk_of == c).flatten()
            in_chunk[of] = torch.arange(len(of), device=of.device)
        self.sources, known = {}, torch.full_like(chunk_of, -1)
        begins = begin[edges].unique()
        others = begins[~(mine[begins] & (begins < own))]  # own nodes of this chunk come first
        known[self.rows] = torch.arange(len(self.rows), device=self.rows.device)
        count = len(self.rows)
        for c in chunk_of[others].unique().tolist():
            of = others[chunk_of[others] == c]
            self.sources[c] = in_chunk[of]
            known[of] = torch.arange(count, count + len(of), device=of.device)
            count += len(of)
        self.nodes, self.edges, self.positions = graph.nodes[self.rows], graph.edges[edges], graph.positions[self.rows]
        self.edge_index = torch.stack([known[begin[edges]], in_chunk[end[edges]]])
        self.along = graph.along[edges]  # type: ignore[misc]
        self.index, self.point_index, self.local_shape = (..., self.nodes, slice(None)), self.nodes, (len(self.nodes),)
        each, device = torch.arange(len(edges)), graph.device
        begins_at, ends_at = self.edge_index.cpu()
        lists = (
            Edges.between(begins_at, each, count, len(each)),
            Edges.between(ends_at, each, len(self.nodes), len(each)),
            Edges.into(ends_at, len(self.nodes)),
        )
        self._begins, self._ends, self._into = (Edges(e.first.to(device), e.source.to(device), e.num_rows) for e in lists)
        send = {peer: in_chunk[of[mine[of]]] for peer, of in graph._plan.send.items()}
        of_ghosts = mine[own:].split(list(graph._plan.recv.values()))
        recv = {peer: int(of.sum()) for peer, of in zip(graph._plan.recv, of_ghosts, strict=True)}
        send, recv = {peer: of for peer, of in send.items() if len(of)}, {peer: n for peer, n in recv.items() if n}
        self._plan = GhostPlan(graph.comm, send, recv, len(self.rows), tag)

    @property  # type: ignore[misc]
    def schedule(self) -> Schedule:
        """Its own."""
        return SYNCHRONOUS

    @property
    def comm(self) -> MPI.Intracomm:
        """Nothing that all nodes have a part in can be asked of a chunk."""
        raise ConfigError(
            "a layer sums over all nodes, and is computed for one chunk of them at a time: leave training.pipeline.chunks out, or take a "
            "model whose nodes ask their neighbors alone (no cutoff, no tokens, no patches, no rotations)"
        )

    def with_ghosts(self, x: Tensor) -> Tensor:
        """Values of own nodes, and then of those at which edges begin besides, by chunk."""
        if x.dim() < 3:
            return self.comm  # type: ignore[return-value]
        rows = x.movedim(-2, 0)
        here = torch.cat([rows, self._plan.ghosts(rows)])
        return torch.cat([rows, *self.passing.rows(self, here)]).movedim(0, -2)

    def close(self) -> None:
        """Free requests and shared memory."""
        self._plan.close()
