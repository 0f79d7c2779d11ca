"""The case that most tests of the command train."""

import copy

import pytest

CASE = {
    "grid": {"shape": [16, 16]},
    "equation": {"name": "navier_stokes"},
    "data": {"kind": "simulation", "trajectories": 3, "held_out": 1, "snapshots": 4, "interval": 0.05},
    "model": {"name": "fno", "channels": 4, "modes": 3, "layers": 2},
    "training": {"epochs": 2, "batch_size": 4, "dtype": "float64"},
}


@pytest.fixture(scope="session")
def small_case():
    """Its tables, with three updates an epoch, to be changed and written by `tomli_w`."""
    return copy.deepcopy(CASE)
