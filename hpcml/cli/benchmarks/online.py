"""``hpcml bench online``: what learning from running simulations is worth, and what it costs.

The heat of a plate from five temperatures and the time, as in L. Meyer et al., ICML 2023, arXiv:2306.16133. All trainings take as many
updates of as many samples; the error is the mean square on 20 simulations that none of them has seen. Those named "melissa-style" have the
published buffers and sampler, reimplemented here. Those named "steered" differ in the sampler alone: percentiles of their relative error on
those 20 simulations are told over that of uniform sampling.
"""

import csv
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hpcml.cli.benchmarks.online_transport import transport
from hpcml.core.case import Case
from hpcml.core.json_text import parse_json
from hpcml.core.named import complete_config
from hpcml.core.training_table import Training
from hpcml.data.samples import Pairs
from hpcml.fields import Grid, decompose
from hpcml.mpi.patience import lenient
from hpcml.mpi.world import World
from hpcml.online.parameters import choose_parameters
from hpcml.online.plate import TEMPERATURES
from hpcml.online.samples_of import inputs_of
from hpcml.runs.experiment import Experiment
from hpcml.runs.online_case import online_case
from hpcml.runs.online_simulations import make_simulations
from hpcml.training.trainer import Trainer

MEASURED = ("error", "p50", "p99", "idle", "stall", "steering")
STEPS, BATCH, CAPACITY, WATERMARK = 100, 10, 3000, 500
KINDS: dict[str, dict[str, Any]] = {
    "fifo, melissa-style": {"buffer": "fifo"},
    "firo, melissa-style": {"buffer": "firo"},
    "reservoir, melissa-style": {"buffer": "reservoir"},
    "own, 3 of 10 simulations": {"buffer": "balanced", "sampler": "sobol", "new_per_update": 3},
}
"""By name, what a training has in its table of data."""
STEERED: dict[str, dict[str, Any]] = {
    "steered: uniform": {"sampler": "uniform"},
    "steered: breed, melissa-style": {"sampler": "breed"},
    "steered: ogas, melissa-style": {"sampler": "ogas"},
    "steered: residual": {"sampler": "residual"},
    "steered: difficulty": {"sampler": "difficulty"},
}
"""The same of trainings that differ in their sampler alone, with a small budget of simulations."""
SMALL_BUDGET = {"buffer": "balanced", "new_per_update": 3}


def run(
    world: World, updates: int, stored: int, seeds: int, side: int, width: int, messages: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure on a rank that trains and two that simulate.

    Communication
    -------------
    Collective over world.comm.
    """
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        case = _case(seed, updates, side, width, {})
        with lenient():
            alone = world.comm.bcast(_stored(case, stored) if world.rank == 0 else None)
        rows.append({"training": f"stored, {stored}", "seed": seed, "error": alone, **dict.fromkeys(MEASURED[1:], 0.0)})
        for kind, options in (KINDS | {kind: SMALL_BUDGET | options for kind, options in STEERED.items()}).items():
            measured = _running(world, _case(seed, updates, side, width, options))
            rows.append({"training": kind, "seed": seed, **measured})
    figures = _figures(rows, f"stored, {stored}") | transport(world, messages)
    return rows, figures


def _case(seed: int, updates: int, side: int, width: int, options: dict[str, Any]) -> Case:
    new = options.get("new_per_update", BATCH)
    data = {
        "kind": "online",
        "simulation": "heat_plate",
        "inputs": "parameters",
        "simulations": max(1, updates * new // STEPS),
        "held_out": 20,
        "steps": STEPS,
        "interval": 0.01,
        "capacity": CAPACITY,
        "watermark": WATERMARK,
        "new_per_update": BATCH,
        "parameters": {name: [100.0, 500.0] for name in TEMPERATURES},
        "seed": seed,
    }
    training = {
        "updates": updates,
        "validate_every": updates,
        "batch_size": BATCH,
        "learning_rate": 1e-3,
        "optimiser": {"name": "torch.optim:Adam"},
        "schedule": {"name": "step", "times": 4, "factor": 0.5},
        "loss": "mse",
        "seed": seed,
    }
    model = {"name": "parameter_mlp", "width": width, "layers": 2}
    tables = {"grid": {"shape": [side, side], "periodic": False}, "ranks": {"device": "cpu"}, "data": data | options, "model": model}
    return complete_config(tables | {"training": training}, Case, "hpcml bench online")


def _running(world: World, case: Case) -> dict[str, float]:
    """Errors after training, and shares of the time that a trainer and simulations have waited and that a sampler has taken."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(world.comm.bcast(folder)) / "run"
        online_case(case, run, world)
        return world.comm.bcast(_measured(run) if world.rank == 0 else None)


def _measured(run: Path) -> dict[str, float]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    spread = parse_json((run / "evaluation.json").read_text(encoding="utf-8"))["percentiles"]["held out"]
    columns = last["valid_loss"], spread["p50"], spread["p99"], last["trainer_idle"], last["solver_stall"], last["steering"]
    return {name: float(value) for name, value in zip(MEASURED, columns, strict=True)}


def _stored(case: Case, count: int) -> float:
    """Error after training on stored simulations, on this rank alone."""
    from mpi4py import MPI

    spec: Any = case.data
    assert case.grid is not None
    with decompose(Grid(case.grid.shape, case.grid.extent, case.grid.periodic), MPI.COMM_SELF, device="cpu") as domain:
        make = make_simulations(case, domain, torch.float32)

        def pairs(numbers: range) -> Pairs:
            parameters = choose_parameters(spec.parameters, numbers, spec.seed)
            states = [state.clone() for n, p in zip(numbers, parameters, strict=True) for state in make(n, tuple(p.tolist()))]
            times = spec.interval * torch.arange(STEPS, dtype=torch.float64).repeat(len(numbers))
            known = torch.from_numpy(parameters).repeat_interleave(STEPS, 0)
            return Pairs(domain, inputs_of(None, known, times, domain, torch.float32), torch.stack(states))

        train, held_out = pairs(range(count)), pairs(range(spec.simulations, spec.simulations + spec.held_out))
        model = Experiment(case, train, {"held out": held_out}).surrogate()
        settings: Training = case.training
        return Trainer(model, train, held_out, settings).fit()


def _figures(rows: list[dict[str, Any]], stored: str) -> dict[str, Any]:
    """Median over seeds, and the least and the most."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["training"], []).append(row)
    fifo, firo, reservoir, own = (by_kind[kind] for kind in KINDS)
    ratio = lambda above, below: [a["error"] / b["error"] for a, b in zip(above, below, strict=True)]  # noqa: E731
    gains = [1 - r for r in ratio(reservoir, by_kind[stored])]
    against = ratio(own, reservoir)
    return {
        "reservoir_vs_offline50": round(median(gains), 4),
        "reservoir_vs_offline50_range": [round(min(gains), 4), round(max(gains), 4)],
        "fifo_over_reservoir": round(median(ratio(fifo, reservoir)), 3),
        "firo_over_reservoir": round(median(ratio(firo, reservoir)), 3),
        "own_600_vs_reservoir_2000": round(median(against), 3),
        "own_600_vs_reservoir_2000_range": [round(min(against), 3), round(max(against), 3)],
        "trainer_idle": round(median(row["idle"] for row in reservoir), 4),
        "solver_stall": round(median(row["stall"] for row in reservoir), 4),
        **_steered(by_kind),
    }


def _steered(by_kind: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Percentiles of the relative error over those with uniform sampling, at as many simulations, by sampler and of ours."""
    plain, *others = STEERED
    figures: dict[str, Any] = {}
    for kind in others:
        name = kind.split(": ")[1].split(",")[0]
        for key in ("p99", "p50"):
            ratios = [row[key] / base[key] for row, base in zip(by_kind[kind], by_kind[plain], strict=True)]
            figures[f"{key}_vs_uniform_{name}"] = round(median(ratios), 3)
            figures[f"{key}_vs_uniform_{name}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        figures[f"steering_{name}"] = round(median(row["steering"] for row in by_kind[kind]), 4)
    return {"p99_vs_uniform": figures["p99_vs_uniform_difficulty"], "p50_vs_uniform": figures["p50_vs_uniform_difficulty"], **figures}
