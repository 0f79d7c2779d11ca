"""Simulations that only measure a model: run side by side, and dealt to whoever measures."""

from collections.abc import Iterator, Sequence

import torch
from mpi4py import MPI
from torch import Tensor

from hpcml.core.case import Case, Ranks
from hpcml.core.errors import HpcmlError, SolverError
from hpcml.core.online_data import Online
from hpcml.data.samples import Pairs
from hpcml.data.tensor_files import domain_of
from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid
from hpcml.mpi.agreement import agree_on_error
from hpcml.mpi.patient_comm import patient
from hpcml.online.parameters import choose_parameters
from hpcml.online.roles import Places
from hpcml.online.samples_of import inputs_of
from hpcml.online.simulations import Make
from hpcml.parallel.window_plan import WindowPlan
from hpcml.runs.dtype_of import dtype_of
from hpcml.runs.online_simulations import fields_of, make_simulations


class HeldOut:
    """The simulations of a case that are held out, state by state.

    Parameters
    ----------
    case : Case
        Of simulations that run while one trains.
    comm : MPI.Intracomm
        All ranks.
    places : Places
        Where blocks lie.
    simulating, measuring : sequence of int
        First ranks of the groups that simulate, and of those that measure; a rank may do both.
    make : callable, optional
        On ranks that simulate.
    group : int, optional
        Of those, this rank's.
    most : int, optional
        Simulations, the first ones; by default all that are held out.

    Communication
    -------------
    Collective over comm; a block goes from who has it to who measures it, and nothing is gathered.
    """

    def __init__(
        self,
        case: Case,
        comm: MPI.Intracomm,
        places: Places,
        simulating: Sequence[int],
        measuring: Sequence[int],
        make: Make | None,
        group: int | None,
        most: int | None = None,
    ) -> None:
        spec = case.data
        assert isinstance(spec, Online)
        self.count = min(spec.held_out, most or spec.held_out)
        numbers = range(spec.simulations, spec.simulations + self.count)
        self.parameters = choose_parameters(spec.parameters, numbers, spec.seed)
        self._comm, self._group, self._dtype, self._channels = comm, group, dtype_of(case), len(fields_of(case))
        self._dealt = [list(range(g, self.count, len(simulating))) for g in range(len(simulating))]
        self._make, self._numbers = make, numbers
        self._mine: list[Iterator[Tensor]] = []
        zero = ("zero",) * len(places.shape)
        pairs = [(g, places.layouts(simulates, measures)) for g, simulates in enumerate(simulating) for measures in measuring]
        self._plans = [(g, WindowPlan(comm, *layouts, zero, 2 * k)) for k, (g, layouts) in enumerate(pairs)]

    def states(self, steps: int) -> Iterator[Tensor]:
        """States, (simulation, channel, *local_shape), of all simulations; empty on ranks that do not measure."""
        for step in range(steps):
            found = self._step(step)
            whole: Tensor | None = None
            for group, plan in self._plans:
                if not self._dealt[group]:
                    continue
                empty = torch.empty(len(self._dealt[group]), self._channels, *plan.source_shape, dtype=self._dtype)
                (arrived,) = plan.forward([found if self._group == group and found is not None else empty])
                if arrived.numel():
                    whole = arrived.new_empty(self.count, *arrived.shape[1:]) if whole is None else whole
                    whole[self._dealt[group]] = arrived
            yield torch.empty(0) if whole is None else whole

    def close(self) -> None:
        """Free the plans."""
        for _, plan in self._plans:
            plan.close()

    def _step(self, step: int) -> Tensor | None:
        """The next state of this rank's simulations; an error of any is that of all ranks."""
        error: Exception | None = None
        found: Tensor | None = None
        try:
            if step == 0 and self._make is not None and self._group is not None:
                mine = self._dealt[self._group]
                self._mine = [self._make(self._numbers[k], tuple(self.parameters[k].tolist())) for k in mine]
            states = [next(states).clone() for states in self._mine]
            found = torch.stack(states) if states else None
            if found is not None and not torch.isfinite(found).all():
                error = SolverError(
                    f"a simulation that is held out is not finite after {step} states: look at the solver and its parameters"
                )
        except HpcmlError as caught:
            error = SolverError(f"a simulation that is held out has failed: {caught}")
        except Exception as caught:
            error = SolverError(f"a simulation that is held out has failed: {type(caught).__name__}: {caught}")
        agree_on_error(error, self._comm)
        return found


def pairs_of(held_out: HeldOut, case: Case, domain: Domain | None) -> Pairs | None:
    """Samples of simulations that are held out, in memory, on ranks that measure: those with a domain.

    Communication
    -------------
    Collective, as the simulations.
    """
    spec = case.data
    assert isinstance(spec, Online)
    kept = [state for state in held_out.states(spec.steps) if domain is not None]
    held_out.close()
    if domain is None:
        return None
    states = torch.stack(kept, 1).to(domain.device)
    last = spec.samples_per_simulation
    parameters = torch.from_numpy(held_out.parameters).repeat_interleave(last, 0)
    times = spec.interval * torch.arange(last, dtype=torch.float64).repeat(held_out.count)
    before = states[:, :-1].flatten(0, 1) if spec.inputs == "state" else None
    return Pairs(domain, inputs_of(before, parameters, times, domain, states.dtype), states[:, -last:].flatten(0, 1))


def held_out_here(case: Case, comm: MPI.Intracomm, most: int | None = None) -> tuple[HeldOut, Domain]:
    """Simulations that are held out on the ranks of any job, the first of which simulate, and the domain of all.

    Communication
    -------------
    Collective over comm.
    """
    assert case.grid is not None
    each = min(case.ranks.per_simulation, comm.size)
    grid = case.grid
    domain = domain_of(grid.shape, grid, Ranks(device=case.ranks.device), comm)
    part = patient(comm).Split(0 if comm.rank < each else 1, comm.rank)
    where = decompose(Grid(grid.shape, grid.extent, grid.periodic), part, device="cpu") if comm.rank < each else None
    error: Exception | None = None
    make: Make | None = None
    try:
        make = make_simulations(case, where, dtype_of(case)) if where is not None else None
    except HpcmlError as caught:
        error = caught
    agree_on_error(error, comm)
    dims = comm.bcast(None if where is None else where.process_grid.dims)
    places = Places(grid.shape, dims, domain.process_grid.dims)
    return HeldOut(case, comm, places, [0], [0], make, 0 if where is not None else None, most), domain
