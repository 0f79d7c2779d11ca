"""As `disordered_calls`: solvers, plans, and what is done to models."""

import torch

from hpcml import Grid, broadcast_parameters, check_parameters, decompose, equations, parallel, solvers, verify
from hpcml.data.moments import moments
from hpcml.linear import conjugate_gradients
from hpcml.models import layers
from hpcml.parallel import Exchange, HaloPlan
from hpcml.training.relative_error import relative_errors
from tests.parallel.disordered_calls import SIDES, made, plain


def solver(build, channels=1):
    def make(setting):
        built = build(setting.domain())
        state = 1 + 0.1 * torch.ones(1, channels, *setting.domain().local_shape)
        return lambda: built.step(state)

    return make


def rollout(setting):
    domain = setting.domain()
    heat = solvers.RungeKutta(equations.Heat(), domain, 1e-3)
    return lambda: heat.rollout(torch.ones(1, 1, *domain.local_shape), 2)


def stable_step(setting):
    domain = setting.domain()
    return lambda: equations.NavierStokes().stable_step(domain, torch.ones(1, 1, *domain.local_shape))


def darcy(setting):
    domain = decompose(Grid(SIDES[2], periodic=False), setting.comm)
    built = solvers.DarcySolver(equations.Darcy(), domain)
    return lambda: built.solve(torch.ones(1, 1, *domain.local_shape, dtype=torch.float64))


def plan(setting, **options):
    domain = setting.domain()
    u = torch.ones(*(n + 2 for n in domain.local_shape))
    return u, HaloPlan(setting.comm, domain.layout, u, periodic=True, **options)


def halo_plan(*names):
    def make(setting):
        u, halo = plan(setting)
        steps = [getattr(halo, name) for name in names]
        return lambda: [step() if step.__name__ == "end" else step(u) for step in steps]

    return make


def deep_halo(setting):
    u, halo = plan(setting)
    deep = parallel.DeepHalo(halo)
    return lambda: deep.step(u)


def exchange(setting):
    peers = {rank: 4 for rank in range(setting.comm.size) if rank != setting.comm.rank}
    messages = Exchange(setting.comm, peers, peers, torch.float32, torch.device("cpu"), what="four numbers")

    def act():
        messages.start()
        messages.wait()

    return act


def of_model(act):
    def make(setting):
        model = layers.Conv2d(setting.domain(), 2, 2, 3, padding=1)
        return lambda: act(model, setting)

    return make


def diagonal(setting):
    b = torch.ones(1, 4)
    return lambda: conjugate_gradients(lambda x: 2 * x, b, setting.comm, diagonal=torch.full_like(b, 2.0))


def adjoint_test(setting):
    x = [torch.ones(3)]
    return parallel.adjoint_error(lambda a: [a], lambda b: [b], x, x, setting.comm)


SOLVERS = {
    "RungeKutta": made(solver(lambda d: solvers.RungeKutta(equations.Heat(), d, 1e-3)), "Heat.tendency"),
    "SpectralNavierStokes": made(
        solver(lambda d: solvers.SpectralNavierStokes(equations.NavierStokes(), d, 1e-3)), "window", "transpose", "maximum"
    ),
    "RungeKutta.rollout": made(rollout, "Heat.tendency", "agreement", "maximum", "minimum"),
    "NavierStokes.stable_step": made(stable_step, "maximum", "transpose", "window"),
    "DarcySolver": made(darcy, "DarcySolver.solve"),
    "NeuralSolver": made(solver(lambda d: solvers.NeuralSolver(layers.Conv2d(d, 1, 1, 3, padding=1), d)), "Conv2d"),
    "conjugate_gradients": made(diagonal, "conjugate_gradients"),
}
UNLIKE = {"verify"}
PARALLEL = {
    "HaloPlan.exchange": made(halo_plan("exchange"), "halo"),
    "HaloPlan.accumulate": made(halo_plan("accumulate"), "halo"),
    "HaloPlan.begin": made(halo_plan("begin", "end"), "halo"),
    "HaloPlan.begin_accumulate": made(halo_plan("begin_accumulate", "end"), "halo"),
    "HaloPlan": plain(plan, "halo"),
    "DeepHalo": made(deep_halo, "halo"),
    "Exchange.wait": made(exchange, "four numbers"),
    "Exchange": plain(exchange, "four numbers"),
    "WindowPlan": plain(lambda s: s.domain().ghost_window(((1, 1), (1, 1))).forward([s.field().detach()]), "window"),
    "adjoint_error": plain(adjoint_test, "sum of"),
    "build": plain(lambda s: layers.Conv2d(s.domain(), 2, 2, 3), "Conv2d "),
    "decompose": plain(lambda s: decompose(Grid(SIDES[2]), s.comm, data=s.comm.size), "Split"),
    "broadcast_parameters": made(of_model(lambda m, s: broadcast_parameters(m)), "broadcast_parameters"),
    "check_parameters": made(of_model(lambda m, s: check_parameters(m)), "check_parameters"),
    "verify": made(of_model(lambda m, s: verify(m, s.field().detach())), "Conv2d", "agreement", "gather", "bcast"),
    "moments": plain(lambda s: moments(s.domain(), s.field().detach()), "moments"),
    "relative_errors": plain(lambda s: relative_errors(s.domain(), s.field().detach(), s.field().detach()), "relative_errors"),
}
