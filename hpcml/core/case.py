"""The case file: everything that ``hpcml train`` and the commands after it need to know, one table per subject.

    [grid]      where the field lives                 [model]     the network
    [ranks]     how ranks share the work              [training]  how it learns
    [equation]  what the field obeys                  [output]    what the run leaves behind
    [data]      what it learns from                   [snapshots] what of the fields is written

``hpcml config schema`` prints this as JSON schema, ``hpcml config show CASE`` a case with all its defaults.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from hpcml.core.config import Count, CountOrZero, Dims, Lengths, NonNegative, Positive, Section, Seed
from hpcml.core.named import Named
from hpcml.core.online_data import Online
from hpcml.core.options import Choice


class Grid(Section):
    """Where the field lives, unless the equation or the data have a mesh."""

    shape: Dims
    """Cells along each dim, slowest first."""
    extent: Lengths | Positive = 1.0
    """Length of each dim, or one length for all."""
    periodic: tuple[bool, ...] | bool = True
    """Whether each dim closes on itself, or one answer for all."""


class Ranks(Section):
    """How ranks share the work: a process grid over the domain, times groups that share the batch."""

    domain: Literal["auto"] | Dims = "auto"
    """Ranks along each dim of the grid; "auto" uses all ranks that the data groups leave."""
    partition: Literal["bisection", "curve", "metis", "kahip"] = "bisection"
    """How the nodes of a mesh are dealt to them."""
    schedule: Literal["synchronous", "overlapped", "stale"] = "synchronous"
    """When values of a mesh's nodes travel to the ranks that need them: "synchronous" before, "overlapped" while edges that need none are
    computed, "stale" for the next epoch."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share that stale values keep when new ones come."""
    data: Count = 1
    """Groups that each hold the whole domain and a part of the batch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where ranks compute: "auto" on a GPU if a rank has one, "cuda" on a GPU or not at all."""
    trainers: Count = 1
    """Of `hpcml online`: ranks that train, the first of the job, which the keys above deal; all others simulate."""
    per_simulation: Count = 1
    """Of `hpcml online`: ranks that share a simulation."""
    same_bits: bool = False
    """Whether a training has the same bits on any number of ranks, which not every model can; ranks then share the first dim alone."""

    @model_validator(mode="after")
    def _same_bits_has_one_order(self) -> Self:
        if self.same_bits and (self.domain != "auto" or self.data > 1):
            raise ValueError("same_bits = true shares the first dim of the grid among all ranks: leave domain and data out")
        if self.same_bits and self.schedule != "synchronous":
            raise ValueError(f"same_bits = true has one order of work: leave schedule = '{self.schedule}' out")
        return self


class Simulation(Section):
    """Train on trajectories of the equation, computed before training by its numerical solver."""

    kind: Literal["simulation"]
    trajectories: Count = 32
    """Initial states to train on."""
    held_out: Count = 4
    """Further ones that only validate."""
    snapshots: Count = 20
    """States kept of each trajectory, the first included."""
    interval: Positive = 0.1
    """Time between two of them: what one step of the network spans."""
    spin_up: NonNegative = 0.0
    """Time before the first."""
    seed: Seed = 0
    """Of the initial states."""


class Tensors(Section):
    """Train on pairs stored in .pt or .npz files."""

    kind: Literal["tensors"]
    train: str
    """File with the training pairs."""
    test: tuple[str, ...] = ()
    """Files with held-out pairs; they may be on other grids."""
    input: str = "x"
    """Name of the inputs in the file: (sample, grid dims) or (sample, channel, grid dims)."""
    target: str = "y"
    """Name of the targets."""


class Dataset(Section):
    """Train on trajectories in HDF5, in The Well's or one of PDEBench's layouts or on a mesh; each rank reads its own part as it goes."""

    kind: Literal["dataset"]
    path: str
    """File with the trajectories to train on, or folder of such files, which may lie on different meshes."""
    test: tuple[str, ...] = ()
    """Files or folders that only measure; the first on the grid of training also validates."""
    inputs: tuple[str, ...] = ()
    """Names of the fields to start from, default all that vary in time; with stride = 0 all that do not. Those that are there beside the
    targets, after them, are given: a roll-out keeps them."""
    targets: tuple[str, ...] = ()
    """Names of the fields to predict, default all that vary in time."""
    stride: CountOrZero = 1
    """Times from input to target; 0 pairs fields of one time, as in steady problems."""
    layout: Annotated[Choice, Named("layout")] | None = None
    """The layout that files must have, or one of your own, ``module:name``; by default files say which of the known ones it is."""
    memory: CountOrZero = 1024
    """MiB of what a rank has read that it keeps, so as not to read it again."""


class Pipeline(Section):
    """Stages of ranks that each compute some layers, for one part of the batch after the other."""

    stages: Count = 2
    """Groups that the ranks are cut into; ``ranks`` then says how those of one share the work."""
    micro_batches: Count = 4
    """Parts of a batch; a stage is idle for (K - 1)/(M + K - 1) of the time, with K stages and M of them."""
    chunks: Count | None = None
    """Parts of a mesh in place of those of a batch; nodes see what other parts had in the last epoch, where these come later."""


class Training(Section):
    """How the network learns."""

    epochs: Count = 20
    """Passes over the data."""
    updates: Count | None = None
    """Updates in all, in place of epochs."""
    validate_every: Count | None = None
    """Updates from one validation, and row of metrics.csv, to the next; by default an epoch."""
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


class Output(Section):
    """What the run leaves behind."""

    folder: str = "runs"
    """Where run directories are made."""
    rollout_steps: Count = 20
    """Steps of the network that a rollout takes."""
    rollout: Annotated[Choice, Named("postprocess")] | None = None
    """Post-processing of your own, ``module:name``, of every step of a roll-out."""
    evaluation: Annotated[Choice, Named("postprocess")] | None = None
    """Post-processing of your own of what is predicted for held-out data."""


class Snapshots(Section):
    """What of the fields is written while a case runs, to be opened by h5py, xarray and ParaView."""

    every: Count = 1
    """Steps of a roll-out between two that are written."""
    simulation: bool = False
    """Whether the trajectories that are simulated for training are written too."""
    compression: Literal["none", "sz3", "zfp"] = "none"
    """Keeps every value within error_bound, which is checked; needs the package hdf5plugin."""
    error_bound: Positive | None = None
    """Largest error of a value that is compressed, in the unit of the fields."""
    units: dict[str, str] = Field(default={})
    """Units that readers are shown, by channel, and of "time" and "length": { vorticity = "1/s" }."""

    @model_validator(mode="after")
    def _compression_has_a_bound(self) -> Self:
        if (self.compression == "none") != (self.error_bound is None):
            raise ValueError("compression and error_bound go together: give both, or neither")
        return self


class Generation(Section):
    """What of a case describes the data that it simulates; the rest, how one learns from them, may be absent and is not looked at."""

    model_config = ConfigDict(extra="ignore")

    grid: Grid | None = None
    ranks: Ranks = Ranks()
    equation: Annotated[Choice, Named("equation")]
    solver: Annotated[Choice, Named("solver")] | None = None
    data: Simulation


class Case(Section):
    """A whole case."""

    grid: Grid | None = None
    ranks: Ranks = Ranks()
    equation: Annotated[Choice, Named("equation")] | None = None
    """What the field obeys."""
    solver: Annotated[Choice, Named("solver")] | None = None
    """What solves the equation, by default what the equation says."""
    data: Annotated[Simulation | Tensors | Dataset | Online, Field(discriminator="kind")]
    model: Annotated[Choice, Named("model")]
    """The network."""
    training: Training = Training()
    output: Output = Output()
    snapshots: Snapshots = Snapshots()

    @model_validator(mode="after")
    def _same_bits_has_one_stage(self) -> Self:
        if self.ranks.same_bits and self.training.pipeline is not None:
            raise ValueError("ranks.same_bits = true has one order of work: leave training.pipeline out")
        return self

    @model_validator(mode="after")
    def _stale_values_are_asked_for_once(self) -> Self:
        again = [key for key in ("recompute", "pipeline") if getattr(self.training, key)]
        if self.ranks.schedule == "stale" and again:
            raise ValueError(f"ranks.schedule = 'stale' remembers every forward pass, and training.{again[0]} makes several: leave one out")
        if self.ranks.schedule != "synchronous" and self.training.pipeline is not None and self.training.pipeline.chunks is not None:
            raise ValueError(f"chunks of a pipeline have a schedule of their own: leave ranks.schedule = '{self.ranks.schedule}' out")
        return self

    @model_validator(mode="after")
    def _same_bits_has_the_same_data(self) -> Self:
        if self.ranks.same_bits and self.data.kind == "simulation":
            raise ValueError(
                "ranks.same_bits = true needs data that are there: the last bits of what a run simulates depend on its ranks. Make them "
                "with hpcml data generate, and name them with data.kind = 'dataset'"
            )
        return self

    @model_validator(mode="after")
    def _simulation_is_complete(self) -> Self:
        if self.data.kind == "simulation" and self.equation is None:
            raise ValueError("data.kind = 'simulation' needs the table [equation], and [grid] unless the equation has a mesh of its own")
        if isinstance(self.data, Online) and (wrong := self.data.misfit(self)) is not None:
            raise ValueError(wrong)
        return self
