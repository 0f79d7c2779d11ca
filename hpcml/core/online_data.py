"""The table ``[data]`` of a case that learns from simulations while they run."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hpcml.core.config import Count, CountOrZero, NonNegative, Positive, Real, Section, Seed
from hpcml.core.named import Named
from hpcml.core.options import Choice


class Online(Section):
    """Train on what simulations send while they run; nothing of it is stored but what a checkpoint holds."""

    kind: Literal["online"]
    simulation: Annotated[Choice, Named("simulation")] | None = None
    """What gives the states of a simulation, one after the other: a name, or ``module:name`` of your own; by default the equation."""
    parameters: dict[str, tuple[Real, Real]] = Field(default={})
    """Least and largest value of each parameter that differs from one simulation to the next; of an equation, options that it has."""
    sampler: Annotated[Choice, Named("sampler")] = Choice(name="uniform")
    """How parameters are chosen between these: at random each for itself, spread evenly, or by what training shows. The simulations held
    out are always uniform."""
    simulations: Count = 100
    """How many to learn from."""
    held_out: Count = 4
    """Further ones that only measure; mean and deviation of what goes in and comes out are theirs too."""
    steps: Count = 100
    """States of each."""
    interval: Positive = 0.1
    """Time between two of them."""
    spin_up: NonNegative = 0.0
    """Time before the first, of an equation's."""
    seed: Seed = 0
    """Of parameters and initial states."""
    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("u",)
    """Names of the channels of a state; an equation has its own."""
    inputs: Literal["state", "parameters"] = "state"
    """What a state is to be predicted from: the state before, with the parameters beside it, or the parameters and the time alone."""
    buffer: Annotated[Choice, Named("buffer")] = Choice(name="reservoir")
    """What is kept of what came, and what is drawn of it."""
    capacity: Count = 1000
    """Samples that the buffer holds, over all trainers."""
    watermark: CountOrZero = 100
    """Samples that must be there before any is drawn, as long as more may come."""
    new_per_update: Count | None = None
    """Samples that are taken in for each update at most; simulations wait when there are more. By default, with ``ordered``, a batch; else
    as many as come."""
    ordered: bool = False
    """Whether samples are taken in turn from simulation to simulation, whichever is faster: a run can be repeated to the last bit."""
    slots: Count = 4
    """Samples of a simulation that may be on their way to a trainer."""
    max_failed: CountOrZero = 0
    """Simulations that may fail before the run ends with the error of the last."""

    @model_validator(mode="after")
    def _buffer_is_above_its_watermark(self) -> Self:
        if self.watermark >= self.capacity:
            raise ValueError(f"a buffer of {self.capacity} samples never has more than watermark = {self.watermark}: raise capacity")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_learn(self) -> Self:
        if self.inputs == "state" and self.steps < 2:
            raise ValueError("steps = 1 leaves no pair of states to learn from: set steps to 2 or more, or inputs = 'parameters'")
        if self.inputs == "parameters" and self.simulation is None:
            raise ValueError("inputs = 'parameters' is for a simulation of your own, whose first state they determine: name it")
        for name, (least, most) in self.parameters.items():
            if not least < most:
                raise ValueError(f"parameters.{name} lies between {least:g} and {most:g}: give the smaller first")
        return self

    def misfit(self, case: Any) -> str | None:
        """What of the rest of a case does not go with learning from simulations that run, in words.

        Communication
        -------------
        Local.
        """
        training = case.training
        if case.grid is None:
            return "data.kind = 'online' needs the table [grid]"
        if (case.equation is None) == (self.simulation is None):
            return "data.kind = 'online' needs the table [equation] or data.simulation, one of the two"
        if training.updates is None:
            return "data that come while one trains have no epochs: say how many updates to do with training.updates"
        if training.steps > 1 or training.stream is not None or training.pipeline is not None or case.ranks.same_bits:
            return (
                "data.kind = 'online' gives single steps in an order of its own: leave training.steps, stream, pipeline and same_bits out"
            )
        if training.batch_size % case.ranks.data:
            return (
                f"ranks.data = {case.ranks.data} groups draw equal parts of training.batch_size = {training.batch_size}: make it a multiple"
            )
        return None

    @property
    def samples_per_simulation(self) -> int:
        """States, or pairs of two that follow one another."""
        return self.steps - (self.inputs == "state")
