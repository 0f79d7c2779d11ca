"""What goes through the stages of a pipeline one after the other: parts of a batch, or chunks of a graph."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError
from hpcml.graphs.chunks import Chunk, ChunkPass, Chunks, Remembered
from hpcml.graphs.graph import Graph
from hpcml.models.spaces import spaces_of


class Pieces:
    """Parts of a batch.

    Parameters
    ----------
    x : Tensor
        The batch.
    number : int
        Of parts, as equal as can be, along the first dim.

    Attributes
    ----------
    names : list of int
        One for each piece: what two have in common if all that stages hand on has one shape where the pieces have.

    Communication
    -------------
    Local.
    """

    def __init__(self, x: Tensor, number: int) -> None:
        self.inputs: Sequence[Tensor] = x.tensor_split(max(1, min(number, len(x))))
        self.names = [0] * len(self.inputs)
        self._sizes = [len(piece) for piece in self.inputs]

    @contextmanager
    def computing(self, m: int) -> Iterator[None]:
        """A block in which the network computes a piece."""
        yield

    def joined(self, outputs: list[Tensor]) -> Tensor:
        """The whole of what the pieces gave."""
        return torch.cat(outputs)

    def split(self, whole: Tensor) -> Sequence[Tensor]:
        """Take back what `joined` did."""
        return whole.split(self._sizes)

    def slopes(self, m: int) -> tuple[list[Tensor], list[Tensor]]:
        """Values within a piece that others have used, and the gradients that these have left."""
        return [], []

    def end(self) -> None:
        """All pieces have been computed."""


class ChunkPieces(Pieces):
    """Chunks of the nodes of a graph, in an order of their own.

    Parameters
    ----------
    x : Tensor
        Field on the graph, (sample, node, channel).
    network : Module
        Built on the graph.
    chunks : Chunks
        Of the graph.
    run : ChunkPass
        This forward pass.

    Communication
    -------------
    Local.
    """

    def __init__(self, x: Tensor, network: nn.Module, chunks: Chunks, run: ChunkPass) -> None:
        self._network, self._run, self._nodes = network, run, [chunks.chunks[number].rows for number in run.order]
        self.inputs = self.split(x)
        self.names = [1 + number for number in run.order]
        self._graph = chunks.graph

    @contextmanager
    def computing(self, m: int) -> Iterator[None]:
        chunk, graph = self._run.start(self._run.order[m]), self._graph
        _put(self._network, graph, chunk)
        try:
            yield
        finally:
            _put(self._network, chunk, graph)

    def joined(self, outputs: list[Tensor]) -> Tensor:
        whole = outputs[0].new_empty(*outputs[0].shape[:-2], sum(map(len, self._nodes)), outputs[0].shape[-1])
        for rows, output in zip(self._nodes, outputs, strict=True):
            whole[..., rows, :] = output
        return whole

    def split(self, whole: Tensor) -> Sequence[Tensor]:
        return [whole.index_select(-2, rows) for rows in self._nodes]

    def slopes(self, m: int) -> tuple[list[Tensor], list[Tensor]]:
        here, slopes = self._run.slopes(self._run.order[m])
        self._run.forget(self._run.order[m])
        return here, slopes

    def end(self) -> None:
        self._run.remember()


class ChunkMaker:
    """Cuts the graph of a network into chunks, batch after batch.

    Parameters
    ----------
    network : Module
        Built on one graph, whose ghosts are all that it asks other nodes for.
    number : int
        Of chunks.

    Raises
    ------
    ConfigError
        For a network on anything else.

    Communication
    -------------
    Making it: that of `hpcml.graphs.chunks.Chunks`.
    """

    def __init__(self, network: nn.Module, number: int) -> None:
        spaces = list(dict.fromkeys(spaces_of(network)))
        if len(spaces) != 1 or not isinstance(spaces[0], Graph):
            raise ConfigError(f"chunks are cut of one graph, and {type(network).__name__} is built on {spaces or 'none'}: leave chunks out")
        self._network, graph = network, spaces[0]
        if number < 1:
            raise ConfigError(f"a graph is cut into 1 chunk or more, got chunks={number}")
        self._whole, self._chunks = Chunks(graph, 1), Chunks(graph, number)
        graph.schedule = self._schedule = Remembered()
        self._visits, self._seen = 0, set[int]()

    def pieces(self, x: Tensor, keeps: bool) -> Pieces:
        """Chunks in another order each time; all nodes at once where no gradient is asked for, or the samples were never here."""
        history = self._schedule.history
        if not keeps:
            history = type(history)()
            history.visit(range(len(x)))
        history.check(x.movedim(-2, 0))
        self._visits += keeps
        new = set(history.samples) - self._seen
        if not keeps or new:
            self._seen |= new if keeps else set()
            return ChunkPieces(x, self._network, self._whole, self._whole.begin(history, [0]))
        order = torch.randperm(len(self._chunks.chunks), generator=torch.Generator().manual_seed(self._visits)).tolist()
        return ChunkPieces(x, self._network, self._chunks, self._chunks.begin(history, order))


def _put(network: nn.Module, before: Graph | Chunk, after: Graph | Chunk) -> None:
    """Let the layers of a network compute on another graph."""
    for module in network.modules():
        if module.__dict__.get("space") is before:
            module.__dict__["space"] = after
