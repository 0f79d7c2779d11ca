"""What two cores need at least is measured on bytes that do arrive."""

import pytest

from hpcml.cli.benchmarks.passing import Passing


@pytest.mark.parallel([2])
@pytest.mark.parametrize("words", [1, 9, 4096])
def test_each_rank_loads_what_the_other_has_stored(comm, words):
    passing = Passing(comm, 8 * words, tag=0)
    for _ in range(3):
        passing.meet()
        first = passing._step + 1  # the number of the call, which both ranks count alike
        assert passing() == words * first + words * (words - 1) // 2
    passing.close()
