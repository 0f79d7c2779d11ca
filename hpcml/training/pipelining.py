"""GPipe: stages of ranks that each compute some layers, for one part of the batch after the other.

    stage s, slot t:  forward of micro-batch t - s        then, in reverse order, backward

Y. Huang and others, GPipe: efficient training of giant neural networks using pipeline parallelism, NeurIPS 2019, arXiv:1811.06965. In
place of micro-batches, chunks of a graph: J. Chen, Z. Chen, X. Qian, GNNPipe, arXiv:2308.10087.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.models.in_turn import State, in_turn, parts_of, sequential_in
from hpcml.models.layers.reach import check_field
from hpcml.models.replicas import compare_at_first_use
from hpcml.models.spaces import spaces_of
from hpcml.mpi.call import calling
from hpcml.parallel.collectives import broadcast
from hpcml.parallel.linear import uncompiled
from hpcml.parallel.replicated import sum_together
from hpcml.parallel.stages import Stages
from hpcml.topology.block import block_range
from hpcml.training.pieces import ChunkMaker, Pieces
from hpcml.training.recomputation import Recomputed
from hpcml.training.stage_buffers import StageBuffers
from hpcml.training.stage_link import Form, StageLink, form_of


def pipeline(model: nn.Module, stages: Stages, micro_batches: int = 4, chunks: int | None = None) -> "Pipelined":
    """Let stages of ranks compute the layers of a model from now on, micro-batch by micro-batch, or chunk by chunk of a graph.

    Parameters
    ----------
    model : Module
        One of hpcml's that is run part by part (MeshGraphNet, GraphMixer, MeshTransformer, PhysicsAttentionNet, FNO), an `nn.Sequential`,
        anything with a method ``parts(x)``, see `hpcml.models.in_turn`, or what holds such a one as its ``network``. It is built alike on
        every rank, on a space of ``stages.comm``. Its state dict stays as it is.
    stages : Stages
        The groups of ranks.
    micro_batches : int
        Into how many parts a batch is cut, of samples, as equal as can be; fewer where there are fewer samples.
    chunks : int, optional
        Into how many parts the nodes of a graph are cut in place of the batch, on each rank of a stage: GNNPipe. Nodes then see what nodes
        of other chunks had this time, where these went before, else the last time that the sample was there, as a constant; chunks go in
        another order each time. The first time that a sample comes, and where no gradient is asked for, all nodes go at once and nothing is
        stale; so does all after a restart. For networks whose nodes ask their neighbors alone.

    Returns
    -------
    Pipelined
        What now is the model's forward pass. ``done`` tells what this rank's stage has computed, in order.

    Raises
    ------
    ConfigError
        For a model that is not run part by part, has fewer parts than there are stages, or is to have the same bits on any number of ranks.

    Communication
    -------------
    Forward: for each micro-batch one message to the next stage, of what lies between two parts; then a broadcast of the output, so that all
    stages have it, and all compute the loss alike. Backward: as many messages back, and one sum of the gradients of all parameters over all
    ranks. The first time that a batch of some shape comes: a broadcast for each stage.

    Notes
    -----
    Gradients are those of one stage but for rounding. What is divided is work, and what autograd keeps: of each micro-batch that which its
    stage is given, as the rest is computed again. Parameters and optimiser state are on every rank, and so is the input. A stage is idle
    for (K - 1)/(M + K - 1) of the time with K stages of equal work and M micro-batches, see `hpcml.training.bubble.bubble_share`: M of 4 K
    makes that a fifth. Norms over a batch see micro-batches. There is no second derivative.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1))
    >>> with Stages(MPI.COMM_SELF, 1) as stages:
    ...     run = pipeline(model, stages, micro_batches=2)
    ...     model(torch.zeros(4, 2)).sum().backward()
    ...     run.done
    [('forward', 0), ('forward', 1), ('backward', 1), ('backward', 0)]
    """
    network = sequential_in(model)
    run = Pipelined(network, stages, micro_batches, None if chunks is None else ChunkMaker(network, chunks))
    network.forward = run  # type: ignore[method-assign]
    return run


def pipelined_in(model: nn.Module) -> "Pipelined | None":
    """The schedule that `pipeline` has given a model or a part of it, if it has.

    Communication
    -------------
    Local.
    """
    return next((module.forward for module in model.modules() if isinstance(module.forward, Pipelined)), None)


class Pipelined:
    """Forward pass of a network over stages; made by `pipeline`.

    Attributes
    ----------
    stages : Stages
        The stages.
    done : list of (str, int)
        ``forward`` or ``backward`` and the micro-batch, for each slot in which this rank's stage has computed since the last forward pass.

    Communication
    -------------
    See `pipeline`.
    """

    def __init__(self, network: nn.Module, stages: Stages, micro_batches: int, chunks: ChunkMaker | None = None) -> None:
        self.stages, self.done = stages, list[tuple[str, int]]()
        self._network, self._micro_batches, self._chunks = network, micro_batches, chunks
        space = next(iter(spaces_of(network)), None)
        if space is not None and space.tiles is not None:
            raise ConfigError("a pipeline sums gradients over stages, and this space was made with same_bits=True: leave one of them out")
        if chunks is None and micro_batches < 1:
            raise ConfigError(f"a batch is cut into 1 micro-batch or more, got micro_batches={micro_batches}")
        if space is None and stages.comm.size > 1:
            raise ConfigError(f"{type(network).__name__} has no space, so a stage is one rank: take as many stages as ranks")
        self._comm = stages.comm if space is None else space.world_comm
        self._link = StageLink(stages, torch.device("cpu") if space is None else space.device)
        self._forms: dict[tuple[Form, int], list[Form]] = {}
        self._name = network.__dict__.get("_call") or type(network).__name__
        self._batch_dim = 0 if space is None or space.channel_dim == 1 else -2 - space.num_dims
        self._space = space

    @uncompiled
    def __call__(self, x: Tensor) -> Tensor:
        """Output of the network, on every rank as on those of the last stage."""
        if x.dim() + min(self._batch_dim, 0) < 0:
            raise ShapeError(f"a pipeline cuts a batch into micro-batches, got a field without samples, of shape {tuple(x.shape)}")
        parameters = [p for p in self._network.parameters() if p.requires_grad]
        with calling(f"{self._name} in stages"):
            if self._space is not None and (channels := getattr(self._network, "_in_channels", None)) is not None:
                check_field(x, self._space, channels, self._name)
            if not self._forms and (count := len(parts_of(self._network, x))) < self.stages.number:
                raise ConfigError(f"{self._name} has {count} parts, too few for {self.stages.number} stages")
            compare_at_first_use(self._network, self.stages.world)
            keeps = torch.is_grad_enabled() and (x.requires_grad or bool(parameters))
            y: Tensor = _Run.apply(self, keeps, x, *parameters)
            return y

    @property
    def has_chunks(self) -> bool:
        """Whether what goes through the stages are chunks of a graph."""
        return self._chunks is not None

    def close(self) -> None:
        """Free requests and shared memory."""
        self._link.close()

    def forward(self, x: Tensor, keeps: bool) -> tuple[Tensor, "_Kept"]:
        """All micro-batches, one after the other."""
        pieces = Pieces(x, self._micro_batches) if self._chunks is None else self._chunks.pieces(x, keeps)
        stages, kept = self.stages, _Kept(self._network, self._comm, x, pieces)
        buffers = StageBuffers(self._network, stages.across)
        self.done.clear()
        outputs = []
        for m, piece in enumerate(pieces.inputs):
            forms = self._forms.setdefault((form_of((piece,)), pieces.names[m]), [])
            output = self._compute(kept, m, self._given(piece, forms), keeps)
            self.done.append(("forward", m))
            (shape, dtype), *_ = self._hand_on(output, forms)
            outputs.append(output[0].detach() if stages.index == stages.number - 1 else x.new_empty(shape, dtype=dtype))
        self._link.settle()
        pieces.end()
        buffers.take_over()
        return broadcast(stages.across, pieces.joined(outputs), stages.number - 1), kept

    def backward(self, kept: "_Kept", cotangent: Tensor) -> None:
        """Gradients of all micro-batches, the last one first, into what is kept."""
        stages = self.stages
        first, last = stages.index == 0, stages.index == stages.number - 1
        slopes = kept.pieces.split(cotangent) if last else ()
        for m in reversed(range(len(kept.graphs))):
            given, output = kept.graphs[m]
            back = (slopes[m],) if last else self._link.receive(form_of(output), stages.index + 1)
            varied = [k for k, t in enumerate(output) if t.requires_grad]
            within, left = kept.pieces.slopes(m)
            if varied or within:
                torch.autograd.backward([*(output[k] for k in varied), *within], [*(back[k] for k in varied), *left])
            self.done.append(("backward", m))
            own = tuple(torch.zeros_like(t) if t.grad is None else t.grad for t in given)
            if not first:
                self._link.send(own, stages.index - 1)
            elif kept.x.requires_grad:
                kept.slopes.append(own[0])
            kept.graphs[m] = (), ()
        self._link.settle()

    def _given(self, piece: Tensor, forms: list[Form]) -> State:
        """What the stage before has made of a piece."""
        stages = self.stages
        if stages.index == 0:
            return (piece,)
        while len(forms) < stages.index:
            forms.append(stages.across.bcast(None, len(forms)))
        return self._link.receive(forms[stages.index - 1], stages.index - 1)

    def _hand_on(self, output: State, forms: list[Form]) -> Form:
        """Send an output to the next stage; give the form of that of the last one."""
        stages = self.stages
        if len(forms) == stages.index:
            forms.append(stages.across.bcast(form_of(output), stages.index))
        if stages.index < stages.number - 1:
            self._link.send(tuple(t.detach() for t in output), stages.index + 1)
        while len(forms) < stages.number:
            forms.append(stages.across.bcast(None, len(forms)))
        return forms[-1]

    def _compute(self, kept: "_Kept", m: int, given: State, keeps: bool) -> State:
        """Parts of this stage."""

        def run(*state: Tensor) -> State:
            with kept.local_parameters(), kept.pieces.computing(m):
                parts = parts_of(self._network, kept.pieces.inputs[m])
                mine = block_range(len(parts), self.stages.number, self.stages.index)
                return in_turn(parts[mine.start : mine.stop], *state)

        if not keeps:
            return run(*given)
        with torch.enable_grad():
            needed = self.stages.index > 0 or kept.x.requires_grad
            inputs = tuple(t.detach().requires_grad_(needed and t.is_floating_point()) for t in given)
            output: State = Recomputed(self._network, run)(*inputs) if self._chunks is None else run(*inputs)
        kept.graphs.append((inputs, output))
        return output


class _Kept:
    """What a forward pass keeps for its backward pass."""

    def __init__(self, network: nn.Module, comm: Any, x: Tensor, pieces: Pieces) -> None:
        self.x, self.pieces, self.slopes = x, pieces, list[Tensor]()
        self.graphs, self.used = list[tuple[State, State]](), False
        self._places = list[tuple[dict[str, Any], str, Tensor, Tensor]]()
        self.copies: dict[Tensor, Tensor] = {}
        self.summed: set[Tensor] = set()
        for part in network.modules():
            for name, value in part._parameters.items():
                if value is None:
                    continue
                copy = self.copies.setdefault(value, value.detach().requires_grad_(value.requires_grad))
                if getattr(part, "sums_gradients_itself", False):
                    self.summed.add(value)
                else:
                    copy.replicated_over = comm  # type: ignore[attr-defined]
                self._places.append((part._parameters, name, value, copy))

    @contextmanager
    def local_parameters(self) -> Iterator[None]:
        """A block in which the network has copies of its parameters, whose gradients nobody sums."""
        for owner, name, _, copy in self._places:
            owner[name] = copy
        try:
            yield
        finally:
            for owner, name, value, _ in self._places:
                owner[name] = value

    def total(self, stages: Stages) -> dict[Tensor, Tensor]:
        """Gradients of all stages' parameters."""
        totals = dict[Tensor, Tensor]()
        for comm, here in ((stages.world, lambda p: p not in self.summed), (stages.across, lambda p: p in self.summed)):
            chosen = [p for p in self.copies if p.requires_grad and here(p)]
            grads = [self.copies[p].grad for p in chosen]
            own = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, grads, strict=True)]
            totals.update(zip(chosen, sum_together(own, comm) if own else [], strict=True))
        return totals


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, run: Pipelined, keeps: bool, x: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        y, ctx.kept = run.forward(x, keeps)
        ctx.run, ctx.parameters = run, parameters
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor):  # type: ignore[no-untyped-def]
        run, kept = ctx.run, ctx.kept
        with calling(f"{run._name} in stages backward"):
            if kept.used:
                raise ConfigError(f"{run._name} in stages: its gradients were asked for twice, and what they need is gone: call it again")
            kept.used = True
            run.backward(kept, cotangent)
            by_parameter = kept.total(run.stages)
            slope = None
            if kept.x.requires_grad:
                slope = kept.pieces.joined(kept.slopes[::-1]) if run.stages.index == 0 else torch.zeros_like(kept.x)
                slope = broadcast(run.stages.across, slope, 0)
        return None, None, slope, *(by_parameter[p] for p in ctx.parameters)
