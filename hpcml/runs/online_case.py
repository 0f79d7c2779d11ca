"""Train the model of a case while its simulations run, in a run directory like any other."""

import logging
from functools import partial
from pathlib import Path

from hpcml.core.case import Case
from hpcml.core.errors import CommunicationError, ConfigError, HpcmlError
from hpcml.core.online_data import Online
from hpcml.core.registry import load
from hpcml.data.case_device import bind_case
from hpcml.data.samples import Pairs
from hpcml.data.tensor_files import domain_of
from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.mpi import StopSignal
from hpcml.mpi.agreement import agree_on_error
from hpcml.mpi.patience import lenient
from hpcml.mpi.world import World
from hpcml.online.buffer import Buffer
from hpcml.online.desk import Desk
from hpcml.online.inlet import open_lanes
from hpcml.online.intake import Intake
from hpcml.online.model_residual import StepResidual
from hpcml.online.online_stream import OnlineStream
from hpcml.online.outlet import Outlet
from hpcml.online.roles import Places, Roles
from hpcml.online.sampler import Sampler
from hpcml.online.simulating import Simulating
from hpcml.online.simulations import Make
from hpcml.online.steering import Steering
from hpcml.parallel.stages import Stages
from hpcml.runs.dtype_of import dtype_of
from hpcml.runs.experiment import Experiment, build_surrogate
from hpcml.runs.held_out_simulations import HeldOut, pairs_of
from hpcml.runs.online_sampler import make_sampler
from hpcml.runs.online_simulations import channels_of_online, fields_of, make_simulations
from hpcml.runs.train_case import train_in

_log = logging.getLogger(__name__)


def online_case(case: Case, folder: Path, world: World, wait: float = 3.0) -> dict[str, float] | None:
    """Split the ranks into some that train and groups that simulate; train, checkpoint, measure on simulations that are held out.

    Parameters
    ----------
    case, folder, world, wait
        As `hpcml.runs.train_case.train_case` has them.

    Returns
    -------
    dict of str to float, or None
        As there, on every rank.

    Raises
    ------
    HpcmlError
        On every rank, for whatever is wrong with the case, a simulation, the folder, or the course of training.

    Communication
    -------------
    Collective over world.comm.
    """
    if not isinstance(case.data, Online):
        raise ConfigError(f"hpcml online learns from simulations while they run, and data.kind = {case.data.kind!r}: start hpcml train")
    with Roles.of(world, case) as roles:
        job = _Job(case, folder, world, roles, wait)
        job.set_up()
        error: HpcmlError | None = None
        errors: dict[str, float] | None = None
        try:
            if roles.trains:
                errors = job.train()
            else:
                job.simulate(roles)
        except CommunicationError:  # ends the job, which others may wait in
            raise
        except HpcmlError as caught:
            error = caught
        with lenient():  # those that simulate have nothing to do until the model has been measured
            agree_on_error(error, world.comm)
            errors = world.comm.bcast(errors)
        job.close()
    return errors


class _Job:
    """One rank's part of a job."""

    def __init__(self, case: Case, folder: Path, world: World, roles: Roles, wait: float) -> None:
        assert isinstance(case.data, Online) and case.grid is not None
        self._case, self._folder, self._world, self._roles, self._wait = case, folder, world, roles, wait
        self._spec, self._dtype = case.data, dtype_of(case)
        self._box = Grid(case.grid.shape, case.grid.extent, case.grid.periodic)
        self._domain: Domain | None = None
        self._sampler: Sampler | None = None
        self._residual: StepResidual | None = None
        self._pairs: Pairs | None = None
        self._make: Make | None = None

    def set_up(self) -> None:
        """Deal the grid, look at everything that can be refused, and run what is held out. Collective over all ranks."""
        error: Exception | None = None
        try:
            self._make_domain()
        except HpcmlError as caught:
            error = caught
        agree_on_error(error, self._world.comm)
        assert self._domain is not None
        dims, comm, roles = self._domain.process_grid.dims, self._world.comm, self._roles
        simulated, trained = comm.bcast(dims, roles.trainers), comm.bcast(dims)
        self._places = Places(self._box.shape, simulated, trained)
        each = roles.trainers // self._case.ranks.data
        self._measuring = [group * each for group in range(self._case.ranks.data)]
        groups = [roles.first_of(group) for group in range(min(roles.num_groups, self._spec.held_out))]
        active = roles.group if roles.group is not None and roles.group < len(groups) else None
        held_out = HeldOut(self._case, comm, self._places, groups, self._measuring, self._make, active)
        self._pairs = pairs_of(held_out, self._case, self._domain if roles.trains else None)

    def train(self) -> dict[str, float] | None:
        """What a rank that trains does."""
        assert self._domain is not None and self._pairs is not None
        roles, pairs, domain = self._roles, self._pairs, self._domain
        simulating = range(roles.trainers, self._world.size)
        assert self._sampler is not None
        steering = Steering(self._sampler, self._spec.parameters, domain.world_comm, domain.comm.rank == 0)
        desk = None
        if roles.own.rank == 0:
            desk = Desk(roles.comm, simulating, roles.num_groups, steering, self._spec.ordered, self._spec.max_failed)
        layouts = [self._places.layouts(roles.first_of(g), self._measuring[domain.data_index]) for g in range(roles.num_groups)]
        shape = len(fields_of(self._case)), len(self._spec.parameters), self._dtype, self._spec.slots
        lanes = open_lanes(roles.comm, [source for source, _ in layouts], layouts[0][1], *shape)
        intake = Intake(roles.comm, domain, lanes, desk, self._spec.ordered)
        try:
            with Stages(roles.own, 1) as stages:
                experiment = Experiment(self._case, pairs, {"held out": pairs})
                return train_in(
                    self._folder,
                    self._case,
                    roles.own,
                    stages,
                    lambda: None,
                    lambda directory, stop: experiment,
                    self._wait,
                    lambda experiment: self._stream(intake, steering, domain),
                )
        except CommunicationError:
            raise
        except HpcmlError:
            intake.drain()
            raise

    def simulate(self, roles: Roles) -> None:
        """What a rank that simulates does."""
        assert self._make is not None and roles.group is not None
        group = roles.group
        layouts = [self._places.layouts(roles.first_of(group), first) for first in self._measuring]
        shape = len(fields_of(self._case)), len(self._spec.parameters), self._dtype, self._spec.slots
        outlet = Outlet(roles.comm, layouts[0][0], [target for _, target in layouts], *shape)
        with StopSignal(roles.own.comm):  # which the trainers hear, and say when to end
            Simulating(roles, outlet, self._make, self._spec.inputs == "state", len(self._measuring)).run()

    def close(self) -> None:
        """Free what is this rank's."""
        if self._domain is not None and not self._roles.trains:  # the run closes that of the trainers
            self._domain.close()

    def _make_domain(self) -> None:
        case, own = self._case, self._roles.own
        if self._roles.trains:
            bind_case(case.ranks, own)
            assert case.grid is not None
            self._domain = domain_of(self._box.shape, case.grid, case.ranks, own.comm)
            build_surrogate(case, self._domain, *channels_of_online(case))
            self._sampler, self._residual = make_sampler(case)
        else:
            self._domain = decompose(self._box, own.comm, device="cpu")
            self._make = make_simulations(case, self._domain, self._dtype)

    def _stream(self, intake: Intake, steering: Steering, domain: Domain) -> OnlineStream:
        choice = self._spec.buffer
        make = partial(_make_buffer, load("buffer", choice.name), choice.name, choice.options)
        size, channels = self._case.training.batch_size, len(fields_of(self._case))
        return OnlineStream(
            domain,
            self._spec,
            intake,
            steering,
            self._residual,
            make,
            size,
            channels,
            self._dtype,
            relative=self._case.training.loss.name != "mse",
        )


def _make_buffer(kind, name, options, capacity, watermark, draws) -> Buffer:  # type: ignore[no-untyped-def]
    made = kind(capacity=capacity, watermark=watermark, draws=draws, **options)
    if not isinstance(made, Buffer):
        raise ConfigError(f"data.buffer = {name!r} makes {type(made).__name__}, which is no hpcml.online.Buffer")
    return made
