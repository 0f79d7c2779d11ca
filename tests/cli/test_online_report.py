"""What a report says of costs is what a hand says."""

import numpy as np

from hpcml.cli.online_report import cost
from hpcml.core.case import Case
from hpcml.core.named import complete_config
from hpcml.runs.break_even import break_even


def case_of():
    data = {"kind": "online", "simulation": "heat_plate", "inputs": "parameters", "steps": 10, "held_out": 5}
    tables = {"grid": {"shape": [4, 4]}, "ranks": {"trainers": 2, "per_simulation": 3}, "data": data, "model": {"name": "parameter_mlp"}}
    return complete_config(tables | {"training": {"updates": 3}}, Case, "case.toml")


def test_costs_are_those_of_all_ranks_and_starts():
    rows = {
        "solver_seconds": np.array([4.0, 10.0, 5.0]),  # started again after the second: 15 in all
        "seconds": np.array([20.0, 20.0, 10.0]),
        "samples_in": np.array([40.0, 100.0, 150.0]),
    }
    said = cost(case_of(), rows, {"seconds": {"held out": 1.25}})
    # 45 of solvers, 100 of trainers; 15 simulations take 3 each, a prediction 0.5: 145 / 2.5
    spent, _, paid = said.partition("; ")
    assert spent == "rank-seconds: 45 of solvers, 100 of trainers"
    assert paid == "a simulation takes 3, its prediction 0.5: paid for after 58 simulations at the earliest"
    assert cost(case_of(), rows, {"seconds": {"held out": 12.5}}).endswith("no cheaper than the solver")
    assert break_even(145.0, 3.0, 0.5) == 58
