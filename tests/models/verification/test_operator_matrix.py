"""The operator matrix: nothing is wrong, what cannot be done says so, and what is wrong would be seen."""

import pytest
import torch
from torch import nn

from hpcml.core.errors import ShapeError, TopologyError
from hpcml.models import layers
from hpcml.models.layers import Conv2d
from hpcml.models.verification.matrix_case import MatrixCase, Reference, compare_case, like_torch
from hpcml.models.verification.operator_matrix import BOUND, Outcome, _outcome, _process_grids, matrix_cases, run_matrix, summary, table

RANKS = pytest.mark.parallel([1, 2, 3, 4])
EVERY = {1: 10, 2: 10, 3: 15, 4: 20, 6: 40}  # `hpcml verify --matrix` runs them all; with more ranks than cores each takes longer


@RANKS
def test_no_operator_is_wrong(comm):
    told = []
    outcomes = run_matrix(comm, EVERY[comm.size], lambda done, total: told.append((done, total)))
    assert summary(outcomes)["wrong"] == 0, table(outcomes)
    assert summary(outcomes)["exact"] > 0.95 * len(outcomes), table(outcomes)  # refusing is allowed, but not as a habit
    assert told[-1] == (len(matrix_cases()[:: EVERY[comm.size]]),) * 2


def test_every_layer_is_in_the_matrix():
    functions = {"coordinates", "roll"}
    of_graphs = {"EdgeIndexLayer", "Ewald", "GraphAttention", "LatentAttention", "PhysicsAttention"}  # twins in tests/models/layers
    assert set(layers.__all__) - functions - of_graphs <= {case.operator for case in matrix_cases()}


def test_every_case_is_one_of_a_kind():
    names = [str(case) for case in matrix_cases()]
    assert len(set(names)) == len(names)


def test_all_process_grids():
    assert _process_grids(6, (5, 7)) == [(1, 6), (2, 3), (3, 2)]
    assert len(_process_grids(4, (9, 9, 9))) == 6


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("dtype", BOUND, ids=str)
def test_a_wrong_layer_is_wrong(comm, dtype):
    """Plain layers see their block only; one that is right but for the gradient of its parameters is wrong too."""
    dims = (comm.size, 1)
    for plain in (lambda: nn.Conv2d(2, 2, 3, padding=1), lambda: nn.Conv2d(2, 2, 1)):
        case = MatrixCase("Conv2d", "plain", (9, 8), 2, lambda domain, plain=plain: _with_domain(plain(), domain), plain)
        outcome = _outcome(case, dtype, dims, compare_case(case, Reference(case, dtype), dtype, comm, dims))
        assert outcome.verdict == "wrong"
    assert outcome.quantity.startswith("gradient of")
    assert "wrong: Conv2d(plain) on (9, 8)" in table([outcome]) and summary([outcome]) == {"cases": 1, "exact": 0, "raised": 0, "wrong": 1}


@pytest.mark.parallel([2, 3])
def test_a_wrong_shape_is_wrong(comm):
    case = like_torch("Conv2d", (9, 8), 2, 2, 2, 3, padding=1)
    narrow = MatrixCase("Conv2d", "narrow", (9, 8), 2, lambda domain: Conv2d(domain, 2, 2, 3), case.reference)
    assert compare_case(narrow, Reference(narrow, torch.float64), torch.float64, comm, (comm.size, 1)) == {"output": torch.inf}


@RANKS
def test_a_refusal_is_counted_as_raised(comm):
    case = like_torch("Conv2d", (9, 8), 2, 2, 2, 3, 1, 9, padding_mode="reflect")
    refused = MatrixCase("Conv2d", "refused", (9, 8), 2, case.make, lambda: nn.Conv2d(2, 2, 3, padding=1))
    found = compare_case(refused, Reference(refused, torch.float32), torch.float32, comm, (1, comm.size))
    assert isinstance(found, ShapeError | TopologyError)
    outcome = _outcome(refused, torch.float32, (1, comm.size), found)
    assert outcome.verdict == "raised" and "ShapeError" in str(outcome)
    assert Outcome(case, torch.float64, (1,), 1e-11, "output").verdict == "wrong"
    assert Outcome(case, torch.float32, (1,), 1e-11, "output").verdict == "exact"


def _with_domain(layer, domain):
    layer.domain_out = domain
    return layer
