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
from hpcml.core.training_table import Training


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
    spares: CountOrZero = 0
    """Ranks that stand by and take the place of those that die, where MPI outlives them: Open MPI, started as mpiexec --with-ft ulfm."""
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
