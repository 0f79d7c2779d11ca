"""Dropout whose mask belongs to the global field, not to a rank."""

from torch import Tensor, nn

from hpcml.models.layers.keyed import Keyed
from hpcml.models.layers.numbered import numbered
from hpcml.models.layers.reach import check_field
from hpcml.parallel.space import Space


@numbered
class Dropout(Keyed, nn.Dropout):
    """In training, zero each entry with probability p and divide the others by 1 - p; the same entries on any number of ranks.

        y_i = x_i [u_i >= p] / (1 - p)        u_i = uniform(seed, call number, global index i)

    Parameters
    ----------
    space : Space
        Where the fields live.
    p, inplace
        As in `torch.nn.Dropout`.

    Attributes
    ----------
    seed, calls : Tensor
        Buffers: the layer's own seed, drawn from torch's generator at construction, and how often it was called in training. They are in
        the state dict, so that a run that comes back from a checkpoint goes on with the next mask.

    Raises
    ------
    ShapeError
        For a tensor that is not this rank's block.

    Communication
    -------------
    Local. With data groups one all-gather of a number, since groups may hold different numbers of samples.

    Notes
    -----
    `torch.nn.Dropout` draws other numbers: equal to it in distribution only. Masks do not depend on dtype or device.
    """

    same_bits = True

    def __init__(self, space: Space, p: float = 0.5, inplace: bool = False) -> None:
        nn.Dropout.__init__(self, p, inplace)
        self.key(space)

    def forward(self, input: Tensor) -> Tensor:
        """Field with entries dropped, or the field itself in `eval`."""
        check_field(input, self.space)
        if not self.training or self.p == 0:
            return input
        u = self.space.as_field(self.draw("dropout", *self.space.channels_first(input).shape[:2]), input)
        factor = (u >= self.p).to(input.dtype).mul_(1 / (1 - self.p) if self.p < 1 else 0)
        return input.mul_(factor) if self.inplace else input * factor
