"""States approach those of a spectral solver with the fourth power of dx, keep their mean, and grow and decay as theory says."""

import math

import numpy as np
import pytest
import torch

from hpcml.equations import KuramotoSivashinsky
from hpcml.fields import Grid, decompose
from hpcml.solvers import build_solver

LENGTH, VISCOSITY, TIME = 20.0, 0.8, 1.0


def spectral(amplitudes, at, time, n=96, steps=4000):
    """Another method altogether: NumPy's transforms, dealiased products, an integrating factor and RK4; values at some places."""
    k = 2 * math.pi / LENGTH * np.arange(n // 2 + 1)
    decay, kept = np.exp((k**2 - VISCOSITY * k**4) * time / steps / 2), np.arange(n // 2 + 1) <= n // 3
    dt = time / steps
    mode = np.zeros(n // 2 + 1, complex)
    mode[: len(amplitudes)] = amplitudes

    def rate(v):
        return -0.5j * k * np.fft.rfft(np.fft.irfft(v, n) ** 2) * kept

    for _ in range(steps):
        a = rate(mode)
        b = rate(decay * (mode + dt / 2 * a))
        c = rate(decay * mode + dt / 2 * b)
        d = rate(decay**2 * mode + dt * decay * c)
        mode = decay**2 * mode + dt / 6 * (decay**2 * a + 2 * decay * (b + c) + d)
    angles = np.exp(1j * np.outer(at, k))
    return (2 * (angles * mode).real.sum(1) - mode[0].real) / n


@pytest.mark.parallel([1, 2])
def test_states_converge_with_order_4_to_those_of_a_spectral_solver(comm):
    n = 96
    amplitudes = np.array([0.0, 0.6 - 0.3j, -0.4j, 0.5]) * n / 2
    errors = []
    for cells in (24, 48):
        with decompose(Grid((cells,), (LENGTH,)), comm) as domain:
            x = domain.centres()[0]
            phases = [2 * math.pi / LENGTH * k * x for k in range(4)]
            state = sum(2 / n * (a.real * torch.cos(p) - a.imag * torch.sin(p)) for a, p in zip(amplitudes, phases, strict=True))[
                None, None
            ]
            equation = KuramotoSivashinsky(VISCOSITY)
            steps = math.ceil(2 * TIME / equation.stable_step(domain, state))
            end = build_solver(equation, domain, TIME / steps).rollout(state, steps, steps)[:, -1]
            exact = torch.from_numpy(spectral(amplitudes, x.numpy(), TIME))
            errors.append(float(domain.gather((end - exact).abs()).max()))
    assert errors[1] < 2e-3 and 3.7 < math.log2(errors[0] / errors[1]) < 4.6, errors


@pytest.mark.parallel([1, 2, 3])
def test_the_mean_is_kept_through_chaos(comm):
    with decompose(Grid((32,), (32.0,)), comm) as domain:
        equation = KuramotoSivashinsky()
        state = equation.initial_state(domain, range(2), seed=3) + 0.25
        steps = 800
        end = build_solver(equation, domain, 0.02).rollout(state, steps, steps)[:, -1]
        before, after = domain.gather(state), domain.gather(end)
        # Round-off of 800 steps: each adds rates of order 100 whose sum vanishes, 0.02 * 100 * 1e-16 of them.
        assert torch.allclose(before.mean(-1), after.mean(-1), atol=1e-12, rtol=0)
        assert float((before - after).abs().max()) > 0.5 and 0.5 < float(after.std()) < 3


@pytest.mark.parametrize("waves", [1, 2, 5])
def test_a_small_wave_grows_or_decays_at_its_rate(comm, waves):
    with decompose(Grid((256,), (LENGTH,)), comm) as domain:
        k = 2 * math.pi * waves / LENGTH
        wave = 1e-6 * torch.cos(k * domain.centres()[0])[None, None]
        rate = KuramotoSivashinsky(VISCOSITY).tendency(wave, domain) / wave
        assert torch.allclose(rate, torch.full_like(rate, k**2 - VISCOSITY * k**4), rtol=1e-3, atol=1e-3)
        assert (k**2 > VISCOSITY * k**4) == (waves < 4)


@pytest.mark.parallel([1, 2])
def test_the_longest_step_is_stable_and_not_much_too_careful(comm):
    with decompose(Grid((64,), (32.0,)), comm) as domain:
        equation = KuramotoSivashinsky()
        state = 1e-6 * torch.cos(math.pi * domain.point_index.double())[None, None]  # the shortest wave that the grid has
        step = equation.stable_step(domain)
        solve = lambda dt: domain.gather(build_solver(equation, domain, dt).rollout(state, 40, 40)[:, -1]).abs().max()  # noqa: E731
        assert float(solve(step)) < 1e-6
        rate = lambda dt: float(domain.gather(equation.tendency(state, domain) / state).min()) * dt  # noqa: E731
        assert rate(step) > -0.8 * 2.785 and rate(1.7 * step) < -2.785  # the reach of RK4 along the negative axis
