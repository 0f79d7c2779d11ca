"""Run a model over ranks and on one rank, and compare everything."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hpcml.core.errors import ConfigError, HpcmlError, ShapeError, TopologyError
from hpcml.fields.domain import Domain
from hpcml.models.layers.reach import check_field
from hpcml.models.replicas import drifted
from hpcml.models.spaces import spaces_of
from hpcml.models.verification.comparison import Box, Comparison, compare
from hpcml.models.verification.dealing import collect, deal, field_box, random_box, samples
from hpcml.models.verification.plain_layers import PlainLayer, plain_layers
from hpcml.models.verification.report import Report
from hpcml.models.verification.serial_twin import serial_twin, without
from hpcml.models.verification.trial import Trial
from hpcml.mpi.agreement import agree, raise_together
from hpcml.parallel.space import Space

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""A mistake is orders of magnitude above, the round-off of a network of a hundred layers as far below."""
ZERO_ON_PAPER = 1e-3
"""Parameter gradients count as at least so much of the largest one: that of a bias before a norm is nothing but round-off."""


def verify(
    model: nn.Module,
    x: Any,
    *,
    space: Space | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float64,
) -> Report:
    """Tell whether a model computes over ranks what it computes on one rank: outputs, and gradients of the inputs and of every parameter.

        on rank 0:      y = model'(x)         x', w' = gradients of <c, y>          (model' is the model on the whole grid)
        on all ranks:   y_r = model(x_r)      x'_r, w'_r = gradients of sum_r <c_r, y_r>

    Every y_r and x'_r must be its block of y and x', of the same dtype, every w'_r all of w'. c is random, by global index. Parameters and
    buffers must be the same bits on all ranks.

    Parameters
    ----------
    model : Module
        Of torch, built from layers on a space (`hpcml.models.layers`). Copies of it are run; it stays as it is.
    x : Tensor or sequence
        Arguments of the model. A field is whole, (batch, channel, *global_shape) on a grid, and rank 0's counts, others may pass None;
        or it is this rank's block, (batch, channel, *local_shape). Anything else is handed over as it is.
    space : Space, optional
        Of the fields in ``x``; default the first one in the model that fits.
    tolerance : float, optional
        Largest error, relative to the largest entry; default `TOLERANCE`.
    seed : int
        Of c.
    dtype : torch.dtype, optional
        Precision of the test. In float64, the default, mistakes and round-off are far apart. None leaves the model's own.

    Returns
    -------
    Report
        The same on every rank; ``report.ok`` and ``print(report)``.

    Raises
    ------
    ConfigError
        If the model has no space, or a function in it holds one where it cannot be exchanged for that of one rank.
    ShapeError
        If no argument is a field on one of its spaces, or a data group would get no sample.

    Communication
    -------------
    Collective over its world_comm. Rank 0 holds the whole field and runs the whole network.

    Notes
    -----
    Outputs that are the same on every rank, such as a loss, count once, as in `hpcml.parallel.global_sum`. Random layers agree only if they
    draw by global index, as `hpcml.models.layers.Dropout` does. A module must not keep tensors of local shape, see `serial_twin`.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from hpcml.fields import Grid, decompose
    >>> from hpcml.models.layers import Conv2d
    >>> verify(Conv2d(decompose(Grid((8, 8)), MPI.COMM_SELF), 1, 4, 3, padding=1), torch.ones(2, 1, 8, 8)).ok
    True
    """
    arguments = tuple(x) if isinstance(x, list | tuple) else (x,)
    space = _space_of(model, arguments, space)
    comm = space.world_comm
    blocks, wholes, boxes = _deal_arguments(arguments, space)
    local = Trial(copy.deepcopy(model), blocks, dtype)
    for each in spaces_of(model):
        each.serial()  # some gather themselves
    alone = Trial(serial_twin(model), wholes, dtype) if comm.rank == 0 else None
    known = {id(d): d for d in (space, *spaces_of(model))}
    with raise_together(comm), without(list(known.values())):
        if alone is not None:
            alone.forward()
    named = _forward(local)
    verification = _Verification(space, local, alone, boxes, tolerance)
    verification.values(drifted(model, comm))
    return verification.report(named, getattr(model, "domain_out", None), seed)


class _Verification:
    """Comparisons of two trials that have been run forward."""

    def __init__(self, space: Space, local: Trial, alone: Trial | None, boxes: Sequence[Box | None], tolerance: float | None) -> None:
        self.space, self.comm, self.local, self.alone, self.boxes = space, space.world_comm, local, alone, boxes
        self.comparisons: list[Comparison] = []
        dtype = next((y.real.dtype for y in local.outputs.values() if y.is_floating_point() or y.is_complex()), torch.float64)
        self.tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.float32]) if tolerance is None else tolerance

    def report(self, named: tuple[PlainLayer, ...], domain_out: Domain | None, seed: int) -> Report:
        """Compare outputs; if they have the right shape also gradients; and buffers."""
        theirs = {} if self.alone is None else self.alone.outputs
        shapes: dict[str, tuple[int, ...]] = self.comm.bcast({name: tuple(y.shape) for name, y in theirs.items()})
        boxes = {name: _output_box(self.space, domain_out, shape, self.local.outputs.get(name)) for name, shape in shapes.items()}
        for name, box in boxes.items():
            self._check(name, self.local.outputs.get(name), theirs.get(name), box)
        if all(c.error < torch.inf for c in self.comparisons if c.quantity in boxes):
            self._backward(shapes, boxes, seed)
            self._gradients()
        theirs = {} if self.alone is None else dict(self.alone.model.named_buffers())
        for name, buffer in self.local.model.named_buffers():
            self._check(f"buffer {name}", buffer, theirs.get(name))
        dims = self.space.process_grid.dims if isinstance(self.space, Domain) else (self.space.comm.size,)
        return Report(dims, self.space.num_data, tuple(self.comparisons), named)

    def values(self, drifted: dict[str, str]) -> None:
        """Put first what is not the same bits on all ranks, however little it differs: it explains all else."""
        for name, where in drifted.items():
            got, whole = (None if trial is None else _tensor(trial.model, name) for trial in (self.local, self.alone))
            found = compare(f"value of {name}", got, deal(whole, None, self.comm), None, self.comm, torch.finfo(torch.float64).tiny)
            same = found.agrees  # but for bits or a dtype that the precision of the test does not show
            self.comparisons.append(replace(found, error=torch.inf, where=f"differs {where}") if same else found)

    def _check(self, quantity: str, got: Tensor | None, whole: Tensor | None, box: Box | None = None, floor: float = 0.0) -> None:
        expected = deal(whole, box, self.comm)
        self.comparisons.append(compare(quantity, got, expected, box, self.comm, self.tolerance, floor))

    def _backward(self, shapes: dict[str, tuple[int, ...]], boxes: dict[str, Box | None], seed: int) -> None:
        everything = {name: tuple(slice(0, n) for n in shape) for name, shape in shapes.items()}
        own = {name: box or everything[name] for name, box in boxes.items()}
        for trial, where in ((self.local, own), (self.alone, everything)):
            if trial is not None:
                trial.backward({name: random_box(seed, name, shapes[name], where[name], y) for name, y in trial.outputs.items()})

    def _gradients(self) -> None:
        whole = [None] * len(self.boxes) if self.alone is None else self.alone.input_gradients()
        for k, (gradient, box) in enumerate(zip(self.local.input_gradients(), self.boxes, strict=True)):
            if box is not None:
                self._check("gradient of input" if len(self.boxes) == 1 else f"gradient of input {k}", gradient, whole[k], box)
        theirs = {} if self.alone is None else self.alone.parameter_gradients()
        largest = max((float(g.abs().max()) for g in theirs.values() if g is not None and g.numel()), default=0.0)
        floor = ZERO_ON_PAPER * self.comm.bcast(largest)
        for name, gradient in self.local.parameter_gradients().items():
            self._check(f"gradient of {name}", gradient, theirs.get(name), floor=floor)


def _tensor(model: nn.Module, name: str) -> Tensor | None:
    """Parameter or buffer of a name."""
    return dict([*model.named_parameters(), *model.named_buffers()]).get(name)


def _space_of(model: nn.Module, arguments: Sequence[Any], space: Space | None) -> Space:
    """The space that the first field among the arguments lives on: rank 0's choice, since others need not have a field."""
    known = spaces_of(model) if space is None else [space]
    if not known:
        raise ConfigError("this model has no space, so ranks cannot share its fields: build it from hpcml.models.layers, or pass space=")
    fields = [a for a in arguments if isinstance(a, Tensor)]
    fits = (k for a in fields for k, d in enumerate(known) if d.points_in(a.shape) in (d.global_shape, d.local_shape))
    chosen = known[0].world_comm.bcast(next(fits, None))
    if chosen is None:
        raise ShapeError(
            f"no argument has all points, or this rank's, of one of the model's spaces {known}, got "
            f"{[tuple(a.shape) for a in fields]}: pass the whole field, the same on every rank, or this rank's block"
        )
    return known[chosen]


def _deal_arguments(arguments: Sequence[Any], space: Space) -> tuple[list[Any], list[Any], list[Box | None]]:
    """Arguments over ranks, arguments on one rank (on rank 0), and where the former lie in the latter."""
    comm = space.world_comm
    blocks: list[Any] = []
    wholes: list[Any] = []
    boxes: list[Box | None] = []
    for argument in arguments:
        shape = tuple(argument.shape) if isinstance(argument, Tensor) else ()
        points = comm.bcast(space.points_in(shape))
        whole = argument
        if points != space.global_shape and points == comm.bcast(space.local_shape):
            with raise_together(comm):
                check_field(argument, space)
            whole = collect(argument, space)
        shape = comm.bcast(shape if whole is None else tuple(whole.shape) if isinstance(whole, Tensor) else ())
        is_field = space.points_in(shape) == space.global_shape
        boxes.append(field_box(space, shape) if is_field else None)
        blocks.append(deal(whole, boxes[-1], comm) if is_field else argument)
        wholes.append(whole)
    return blocks, wholes, boxes


def _forward(local: Trial) -> tuple[PlainLayer, ...]:
    """Run, and name the plain layers that took part, also when an error of theirs ends the run."""
    called: list[PlainLayer] = []
    for layer, entry in plain_layers(local.model):
        layer.register_forward_pre_hook(lambda *_, entry=entry: called.append(entry))
    try:
        local.forward()
    except HpcmlError:
        raise
    except Exception as error:
        for entry in called:
            error.add_note(f"plain torch layer {entry}")
        raise
    return tuple(dict.fromkeys(called))


def _output_box(space: Space, domain_out: Domain | None, shape: Sequence[int], got: Tensor | None) -> Box | None:
    """Where this rank's output must lie in the whole one; None if every rank must have the whole one."""
    points = space.points_in(shape)
    reordered = space.world_comm.size == 1 and points == space.global_shape  # one rank has all points, in an order of its own perhaps
    if not shape or (agree(got is not None and tuple(got.shape) == tuple(shape), space.world_comm) and not reordered):
        return None
    try:
        if domain_out is not None and domain_out.global_shape == points:
            return field_box(domain_out, shape)
        if points == space.global_shape:
            return field_box(space, shape)
        if isinstance(space, Domain):
            return field_box(space.with_shape(points), shape)
    except (TopologyError, ShapeError):
        pass
    return (samples(space, shape[0]), *(slice(0, n) for n in shape[1:]))
