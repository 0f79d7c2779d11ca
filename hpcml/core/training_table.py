"""The table ``[training]`` of a case file: how the network learns."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hpcml.core.config import Count, NonNegative, Positive, Real, Section, Seed
from hpcml.core.named import Named
from hpcml.core.options import Choice


class Pipeline(Section):
    """Stages of ranks that each compute some layers, for one part of the batch after the other."""

    stages: Count = 2
    """Groups that the ranks are cut into; ``ranks`` then says how those of one share the work."""
    micro_batches: Count = 4
    """Parts of a batch; a stage is idle for (K - 1)/(M + K - 1) of the time, with K stages and M of them."""
    chunks: Count | None = None
    """Parts of a mesh in place of those of a batch; nodes see what other parts had in the last epoch, where these come later."""


class EarlyStopping(Section):
    """When training ends before its last update: each time the held-out data are measured, it is asked whether more of it pays."""

    patience: Count | None = None
    """Measurements in a row without a gain after which it ends; by default any number."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the best loss so far, whatever its sign, by which a loss must be lower to be a gain, such as 0.01."""
    threshold: Real | None = None
    """Loss that is good enough: it ends there."""

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.patience is None and self.threshold is None:
            raise ValueError("nothing says when to end: give patience, threshold or both")
        return self


class Training(Section):
    """How the network learns."""

    epochs: Count = 20
    """Passes over the data."""
    updates: Count | None = None
    """Updates in all, in place of epochs."""
    validate_every: Count | None = None
    """Updates from one validation, and row of metrics.csv, to the next; by default an epoch."""
    early_stopping: EarlyStopping | None = None
    """Ends training where it no longer pays, { patience = 10, min_gain = 0.01 }, or where it is good enough, { threshold = 1e-3 }."""
    batch_size: Count = 8
    """Samples per update, over all ranks."""
    accumulate: Count = 1
    """Parts in which a batch is computed, to save memory."""
    learning_rate: Positive = 1e-3
    """Of the optimiser, at its start."""
    optimiser: Annotated[Choice, Named("optimiser")] = Choice(name="adamw")
    """What takes the steps: a name, or a table of a name and its options."""
    schedule: Annotated[Choice, Named("schedule")] = Choice(name="cosine")
    """How the learning rate falls."""
    clip: Positive | None = None
    """Largest norm of the whole gradient; none by default."""
    loss: Annotated[Choice, Named("loss")] = Choice(name="relative_l2")
    """What is minimised."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of parameters and fields."""
    stream: Annotated[Choice, Named("stream")] | None = None
    """Updates of your own, ``module:name``, in place of passes over the data, which then give mean, deviation and validation; as many as
    ``updates`` says."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the products inside the network, by torch's autocast; parameters, statistics, losses and the optimiser stay as dtype says."""
    steps: Count = 1
    """Steps that the network takes from each input, the next from what it predicted, each compared with its target: for data that step in
    time. Validation and test take one."""
    push_forward: bool = False
    """Whether what it predicted counts as given, so that no gradient flows through more than one step: robust as several steps are, for the
    memory of one."""
    noise: NonNegative | tuple[NonNegative, ...] = 0.0
    """Deviation of Gaussian noise that is added to inputs, in deviations of the training data, so that the model bears errors such as its
    own: one number for the fields to be predicted, or one for each channel of the input. 0.003 to 0.1 are good values."""
    noise_in_targets: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the noise that targets have too: 0 where the model is to take the noise away, 1 where the change that it predicts stays."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share that a running mean of the parameters keeps at every update, such as 0.999; validation and whatever comes after training then
    use the mean."""
    recompute: bool | tuple[str, ...] = False
    """Whether blocks of the network compute again in the backward pass what they would have to keep, for a third more time and less memory;
    or the names of such blocks, ``*`` for any part, as in "network.blocks.*"."""
    pipeline: Pipeline | None = None
    """Stages of ranks, { stages = 2, micro_batches = 4 }; by default all ranks compute all layers."""
    seed: Seed = 0
    """Of the parameters, the order of samples and dropout."""
    init_from: str | None = None
    """Run directory whose trained model this one begins with, as far as names and shapes are the same."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: names as in the model's state dict, ``*`` for any part, as in "network.lift.*"."""
    checkpoint_share: Annotated[float, Field(gt=0, le=1)] = 0.035
    """Largest share of the run time that checkpoints may take; as many updates lie between two as that needs, by measurement."""

    @model_validator(mode="after")
    def _push_forward_has_steps(self) -> Self:
        if self.push_forward and self.steps == 1:
            raise ValueError("push_forward = true cuts gradients between steps, and steps = 1: set steps to 2 or more")
        return self

    @model_validator(mode="after")
    def _stages_recompute(self) -> Self:
        if self.pipeline is not None and self.recompute:
            raise ValueError("stages of a pipeline compute again in the backward pass as it is: leave recompute out")
        return self

    @model_validator(mode="after")
    def _half_precision_is_of_float32(self) -> Self:
        if self.precision != "float32" and self.dtype == "float64":
            raise ValueError(f"precision = '{self.precision}' rounds float32 fields, and dtype is 'float64': leave one of them out")
        return self
