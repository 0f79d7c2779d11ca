"""Whatever can be known of a case without computing, before anything is computed."""

from mpi4py import MPI

from hpcml.core.case import Case, Simulation
from hpcml.core.errors import ConfigError
from hpcml.data.schedule import Schedule
from hpcml.equations import build_equation
from hpcml.runs.equation_space import equation_space
from hpcml.runs.experiment import build_surrogate, check_steps
from hpcml.runs.simulated_data import channels_of
from hpcml.solvers import build_solver


def check_case(case: Case, comm: MPI.Intracomm) -> None:
    """Make the space, the solver, the model and the schedule of a case that simulates its data, and let them go again.

    Cases that read their data have nothing to compute before these are made.

    Raises
    ------
    ConfigError, TopologyError, ShapeError
        On every rank, whatever they refuse.

    Communication
    -------------
    Collective over comm: communicators are made and freed.
    """
    data = case.data
    if not isinstance(data, Simulation):
        return
    assert case.equation is not None
    equation = build_equation(case.equation)
    with equation_space(equation, case.grid, case.ranks, comm) as domain:
        equation.check(domain)
        check_steps(case)
        steps = case.training.steps
        if data.snapshots <= steps and not equation.steady:
            raise ConfigError(f"data.snapshots = {data.snapshots} leaves no pair of states to learn from: expected at least {steps + 1}")
        build_solver(equation, domain, data.interval, case.solver)
        build_surrogate(case, domain, *channels_of(case))
        pairs = data.trajectories * (1 if equation.steady else data.snapshots - steps)
        training = case.training
        Schedule(pairs, training.batch_size, training.accumulate, domain.num_data, domain.data_index, training.seed)
