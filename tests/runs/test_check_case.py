"""What a case asks for in vain is said before anything is simulated."""

import pytest

from hpcml.core import case
from hpcml.core.errors import ConfigError
from hpcml.core.named import complete_config
from hpcml.runs.check_case import check_case


def case_of(equation, **training):
    tables = {
        "grid": {"shape": [8, 8], "periodic": equation != "darcy"},
        "equation": {"name": equation},
        "data": {"kind": "simulation", "trajectories": 2, "held_out": 1, "snapshots": 1, "interval": 0.01},
        "model": {"name": "fno", "channels": 2, "modes": 2, "layers": 1},
        "training": {"batch_size": 2} | training,
    }
    return complete_config(tables, case.Case, "test")


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("training, least", [({}, 2), ({"steps": 3}, 4)], ids=["one step", "several"])
def test_one_snapshot_is_no_pair_of_states(comm, training, least):
    with pytest.raises(ConfigError, match=f"data.snapshots = 1 leaves no pair of states to learn from: expected at least {least}"):
        check_case(case_of("heat", **training), comm)


@pytest.mark.parallel([1, 2])
def test_one_snapshot_is_all_that_a_steady_equation_has(comm):
    check_case(case_of("darcy"), comm)
