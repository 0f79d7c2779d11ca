"""Tensors handed from one stage to the next, and their gradients handed back."""

import math
from typing import Any

import torch
from torch import Tensor

from hpcml.models.in_turn import State
from hpcml.parallel.exchange import Exchange
from hpcml.parallel.recent import MOST, Recent
from hpcml.parallel.stages import Stages

ALIGNED = 64
"""Bytes at which a tensor begins in a message."""
Form = tuple[tuple[tuple[int, ...], torch.dtype], ...]
"""Shape and dtype of each tensor of a state."""


def form_of(state: State) -> Form:
    """Shapes and dtypes.

    Communication
    -------------
    Local.
    """
    return tuple((tuple(t.shape), t.dtype) for t in state)


class StageLink:
    """Messages of this rank from and to those at its place in the stages around.

    Parameters
    ----------
    stages : Stages
        The stages.
    device : torch.device
        Where tensors lie.

    Communication
    -------------
    One message for each state. Sending does not wait until it has been taken, but for the one before.
    """

    def __init__(self, stages: Stages, device: torch.device) -> None:
        self._stages, self._device = stages, device
        self._exchanges: dict[tuple[int, bool], Recent[Exchange]] = {}  # of each neighbor and direction, so that both ends close alike
        self._sending: list[Exchange] = []

    def send(self, state: State, to: int) -> None:
        """Begin to send tensors to a stage next to this one."""
        exchange = self._exchange(form_of(state), to, sends=True)
        if exchange in self._sending:
            exchange.wait()
            self._sending.remove(exchange)
        buffer = exchange.halves[exchange.half].send.get(to)
        for t, place in zip(state, _views(buffer, form_of(state)), strict=True):
            place.copy_(t)
        exchange.start()
        self._sending.append(exchange)

    def receive(self, form: Form, source: int) -> State:
        """Tensors that a stage next to this one has sent."""
        exchange = self._exchange(form, source, sends=False)
        half = exchange.halves[exchange.half]
        exchange.start()
        exchange.wait()
        return tuple(view.clone() for view in _views(half.recv.get(source), form))

    def settle(self) -> None:
        """Return when what was sent may be forgotten."""
        while self._sending:
            self._sending.pop().wait()

    def close(self) -> None:
        """Free requests and shared memory."""
        for exchanges in self._exchanges.values():
            exchanges.close()

    def _exchange(self, form: Form, peer: int, sends: bool) -> Exchange:
        exchanges = self._exchanges.setdefault((peer, sends), Recent())
        exchange = exchanges.get(form)
        if exchange is not None:
            exchanges.move_to_end(form)
            return exchange
        if len(exchanges) >= MOST:
            self.settle()  # one of these may be the next to be closed
        size = {peer: _places(form)[-1]}
        forward = (peer > self._stages.index) == sends
        made = Exchange(
            self._stages.across,
            size if sends else {},
            {} if sends else size,
            torch.uint8,
            self._device,
            0 if forward else 1,
            what="what one stage hands to the next" if forward else "gradients of what one stage hands to the next",
            shared_by_calls=True,
        )
        return exchanges.add(form, made)


def _places(form: Form) -> list[int]:
    """Where each tensor begins, and where the last one ends."""
    places = [0]
    for shape, dtype in form:
        places.append(places[-1] + -(-math.prod(shape) * dtype.itemsize // ALIGNED) * ALIGNED)
    return places


def _views(buffer: Any, form: Form) -> list[Tensor]:
    if buffer is None:  # nothing but empty tensors
        return [torch.empty(shape, dtype=dtype) for shape, dtype in form]
    starts = _places(form)
    return [
        buffer[start : start + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
        for start, (shape, dtype) in zip(starts, form, strict=False)
    ]
