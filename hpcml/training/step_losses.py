"""Loss of a model over one step, or over several of its own."""

from collections.abc import Iterator

from torch import Tensor, nn

from hpcml.parallel.space import Space
from hpcml.training.loss import Loss


def step_losses(model: nn.Module, loss: Loss, space: Space, x: Tensor, y: Tensor, push_forward: bool = False) -> Iterator[Tensor]:
    """Terms of the loss of a batch, each to be differentiated before the next one is asked for.

        u_0 = x        u_k = model(u_{k-1})        L = 1/K sum_k loss(u_k, y_k)

    Parameters
    ----------
    model : Module
        Gives fields like those that it is given, where there are several steps, or their first channels; those after them then stay.
    loss : callable
        ``loss(space, prediction, target)``.
    space : Space
        Where the fields live.
    x : Tensor
        (batch, channel, *local_shape).
    y : Tensor
        The same of one step, or (batch, step, channel, *local_shape).
    push_forward : bool
        Whether u_{k-1} counts as given: no gradient flows through more than the last step before a target. There is then one term per step,
        and only one step at a time is in memory.

    Yields
    ------
    Tensor
        One number, which all ranks share; their sum is L.

    Communication
    -------------
    That of model and loss, K times.

    References
    ----------
    J. Brandstetter, D. Worrall, M. Welling, Message passing neural PDE solvers, arXiv:2202.03376: the push-forward trick. Their code draws
    the number of steps, of which the last counts; here every number of steps up to K counts alike, which is the mean of that.
    """
    if y.dim() == x.dim():
        yield loss(space, model(x), y)
        return
    terms = []
    for target in y.unbind(1):
        output = model(x)
        term = loss(space, output, target) / y.shape[1]
        if push_forward:
            yield term
            output = output.detach()
        else:
            terms.append(term)
        x = space.with_given(output, x)
    if terms:
        yield sum(terms[1:], start=terms[0])
