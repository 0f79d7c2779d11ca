"""Share of the time for which the stages of a pipeline wait, by counting."""

from collections.abc import Sequence


def bubble_share(done: Sequence[Sequence[tuple[str, int]]]) -> float:
    """Share of the slots of all stages in which one waits, if each step takes one slot.

    A stage takes its steps in its order, each as soon as what it needs is there: forward what the stage before has made of the same
    micro-batch, backward what the stage behind has.

    Parameters
    ----------
    done : sequence of sequence of (str, int)
        For each stage what it did, as `hpcml.training.pipelining.Pipelined` has it: ``forward`` or ``backward``, and the micro-batch.

    Returns
    -------
    float
        From 0 to 1; (K - 1)/(M + K - 1) for GPipe with K stages and M micro-batches.

    Raises
    ------
    ValueError
        If a stage waits for what no other does.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> order = [("forward", 0), ("forward", 1), ("backward", 1), ("backward", 0)]
    >>> bubble_share([order, order]) == 1 / 3
    True
    """
    ends: dict[tuple[int, str, int], int] = {}
    at, free = [0] * len(done), [0] * len(done)
    while any(place < len(steps) for place, steps in zip(at, done, strict=True)):
        before = list(at)
        for stage, steps in enumerate(done):
            while at[stage] < len(steps):
                what, number = steps[at[stage]]
                other = stage + (-1 if what == "forward" else 1)
                if 0 <= other < len(done) and (other, what, number) not in ends:
                    break
                start = max(free[stage], ends.get((other, what, number), 0))
                free[stage] = ends[stage, what, number] = start + 1
                at[stage] += 1
        if at == before:
            raise ValueError("a stage waits for a step that no other takes")
    slots = max(free, default=0) * len(done)
    return (slots - sum(map(len, done))) / slots if slots else 0.0
