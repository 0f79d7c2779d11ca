"""Points that move are joined to those that are near, wherever they have gone, and nothing is left of what was before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

import hpcml
from hpcml.core.errors import CommunicationError, ShapeError
from hpcml.graphs import Cloud, Nearest, Within
from hpcml.models.layers import Ewald, GraphAttention
from hpcml.topology.block import block_range

POINTS, BOX, RADIUS = 120, (1.0, 1.0), 0.15


def share(rows, comm):
    mine = block_range(len(rows), comm.size, comm.rank)
    return rows[mine.start : mine.stop]


def motion(step):
    """Where all points are, unbounded; some go around the box."""
    rng = np.random.default_rng(0)
    return rng.random((POINTS, 2)) + step * 0.05 * rng.standard_normal((POINTS, 2))


def near(points):
    difference = points[:, None] - points[None]
    difference -= np.round(difference)
    return set(map(tuple, np.argwhere((np.sum(difference**2, -1) <= RADIUS**2) & ~np.eye(len(points), dtype=bool)).tolist()))


def edges_of(cloud):
    names = torch.cat([cloud.nodes, cloud.ghosts])
    mine = torch.stack([names[cloud.edge_index[0]], cloud.nodes[cloud.edge_index[1]]], 1).tolist()
    return {tuple(edge) for part in MPI.Intracomm.allgather(cloud.comm, mine) for edge in part}


def numbers_of(cloud):
    """Numbers of edges in the order of where they end and begin."""
    ends = torch.cat([cloud.nodes, cloud.ghosts])[cloud.edge_index[0]], cloud.nodes[cloud.edge_index[1]]
    every = np.concatenate(MPI.Intracomm.allgather(cloud.comm, torch.stack([*ends, cloud.edges]).numpy()), 1)
    return every[2, np.lexsort(every[:2])].tolist()


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("method", ["bisection", "curve"])
def test_edges_and_values_follow_the_points(comm, method):
    values = torch.randn(3, POINTS, 2, generator=torch.Generator().manual_seed(0))
    with Cloud.of(share(motion(0), comm), Within(RADIUS), comm, BOX, method) as cloud:
        x, flags = values[cloud.index], torch.arange(POINTS)[cloud.nodes, None].to(torch.bfloat16)
        for step in range(5):
            expected = motion(step)
            if step:
                x, flags = cloud.move(torch.from_numpy(expected[cloud.nodes]), x, flags)
            assert edges_of(cloud) == near(expected)
            assert numbers_of(cloud) == list(range(len(near(expected))))
            assert torch.equal(x, values[cloud.index]) and torch.equal(flags[:, 0].long(), cloud.nodes)
            assert cloud.local_shape == (len(cloud.nodes),) and abs(len(cloud.nodes) - POINTS / comm.size) < 1
            np.testing.assert_allclose(cloud.positions, expected[cloud.nodes] % 1.0, rtol=0, atol=1e-15)  # of going around
            assert cloud.along.square().sum(1).max() <= RADIUS**2 * (1 + 1e-14)  # of the roots in between


@pytest.mark.parallel([1, 2, 3])
def test_a_model_goes_on_with_a_cloud_that_has_moved(comm):
    with Cloud.of(share(motion(0), comm), Nearest(5), comm, BOX) as cloud:
        torch.manual_seed(0)
        model = hpcml.models.MeshGraphNet(cloud, in_channels=2, out_channels=1, channels=8, steps=2)
        x = torch.randn(1, POINTS, 2, generator=torch.Generator().manual_seed(1))
        for step in range(3):
            if step:
                cloud.move(torch.from_numpy(motion(step)[cloud.nodes]))
            assert hpcml.verify(model, x).ok
            with Cloud.of(motion(step), Nearest(5), MPI.COMM_SELF, BOX) as alone:
                torch.manual_seed(0)
                twin = hpcml.models.MeshGraphNet(alone, in_channels=2, out_channels=1, channels=8, steps=2)
                torch.testing.assert_close(model(x[cloud.index]), twin(x)[cloud.index], rtol=1e-5, atol=1e-5)  # float32


@pytest.mark.parallel([1, 2, 3])
def test_a_model_on_tiles_of_moving_points_has_the_bits_of_one_rank(comm):
    def outputs(ranks):
        with Cloud.of(share(motion(0), ranks), Nearest(5), ranks, BOX, same_bits=True) as cloud:
            torch.manual_seed(0)
            model = hpcml.models.MeshGraphNet(cloud, in_channels=2, out_channels=1, channels=8, steps=2)
            x, found = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(1)), []
            for step in range(3):
                if step:
                    cloud.move(torch.from_numpy(motion(step)[cloud.nodes]))
                y = torch.zeros(POINTS, 1)
                y[cloud.nodes] = model(x[cloud.nodes]).detach()
                found.append((cloud.nodes, y))
            return found

    for (nodes, mine), (_, expected) in zip(outputs(comm), outputs(MPI.COMM_SELF), strict=True):
        assert torch.equal(mine[nodes], expected[nodes])


def held():
    """Open files, mappings, and the number that the next communicator gets."""
    comm = MPI.COMM_SELF.Dup()
    number = comm.py2f()
    comm.Free()
    files = len(list(Path("/proc/self/fd").iterdir()))
    named = [line for line in Path("/proc/self/maps").read_text().splitlines() if " /" in line and ".so" not in line]
    return files, len(named), number


@pytest.mark.parallel([1, 2])
def test_two_hundred_moves_leave_nothing(comm):
    with Cloud.of(share(motion(0), comm), Within(RADIUS), comm, BOX) as cloud:
        x = torch.arange(POINTS, dtype=torch.float64)[cloud.nodes, None].requires_grad_()
        for step in range(200):
            cloud.aggregate(cloud.at_begins(x)).sum().backward()  # ghosts, there and back
            (x,) = cloud.move(torch.from_numpy(motion(step % 7)[cloud.nodes]), x)
            assert torch.equal(x[:, 0].long(), cloud.nodes)
            x.requires_grad_()
            if step == 9:
                before = held()
        assert held() == before


@pytest.mark.parallel([1, 2])
def test_what_is_wrong_is_said_on_every_rank(comm):
    points = share(motion(0), comm)
    last = comm.rank == comm.size - 1
    with pytest.raises(ShapeError, match="dealt by bisection or curve, got 'metis'"):
        Cloud.of(points, Nearest(2), comm, method="metis")
    with pytest.raises(ShapeError, match="lies at"):
        Cloud.of(points * (np.nan if last else 1), Nearest(2), comm)
    with pytest.raises(ShapeError, match="has 2 lengths"):
        Cloud.of(points, Nearest(2), comm, box=(1.0, 1.0, 1.0))
    if comm.size > 1:
        with pytest.raises(ShapeError, match="as many coordinates"):
            Cloud.of(points[:, : 1 + last], Nearest(2), comm)
    with Cloud.of(points, Nearest(2), comm) as cloud:
        with pytest.raises(ShapeError, match="lies at"):
            cloud.move(cloud.positions * (torch.nan if last else 1))
        with pytest.raises(ShapeError, match=r"fields \(\[sample,\]"):
            cloud.move(cloud.positions, torch.zeros(len(cloud.nodes) + last, 1))
        if comm.size > 1:
            with pytest.raises(CommunicationError, match="fields of points"):
                cloud.move(cloud.positions, torch.zeros(len(cloud.nodes), 1 + last))
        assert cloud.aggregate(cloud.at_begins(torch.ones(len(cloud.nodes), 1))).sum() == 2 * len(cloud.nodes)  # as before


@pytest.mark.parallel([2, 3])
def test_what_ranks_mean_differently_is_said_on_every_rank(comm):
    points, last = share(motion(0), comm), comm.rank == comm.size - 1
    for neighbors, box in ((Within(0.1 + 0.1 * last), None), (Nearest(2 + last), None), (Nearest(2), (1.0, 1.0 + last))):
        with pytest.raises(CommunicationError, match="ranks disagree"):
            Cloud.of(points, neighbors, comm, box)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda edges: edges[:, ::-1], "by where they end"),
        (lambda edges: edges[:, [1, 0, *range(2, edges.shape[1])]], "by where they begin"),
        (lambda edges: edges + np.array([[POINTS], [0]]), f"numbers below {POINTS}"),
        (lambda edges: edges + np.array([[0], [POINTS]]), f"node {POINTS}|of another rank"),
        (lambda edges: edges.T, r"\(2, edge\)"),
    ],
)
def test_neighbors_of_a_function_of_ones_own_are_seen_to_be_in_order(comm, change, words):
    last = comm.rank == comm.size - 1

    def own(*arguments):
        edges = Nearest(3)(*arguments)
        return change(edges) if last else edges

    with pytest.raises(ShapeError, match=words):
        Cloud.of(share(motion(0), comm), own, comm)
    with Cloud.of(share(motion(0), comm), lambda *arguments: Nearest(3)(*arguments), comm) as cloud:
        assert cloud.num_edges_global == 3 * POINTS


@pytest.mark.parallel([1, 2])
def test_a_box_may_be_an_array(comm):
    for box in (np.array(BOX), list(BOX), torch.tensor(BOX)):
        with Cloud.of(share(motion(0), comm), Within(RADIUS), comm, box) as cloud:
            assert edges_of(cloud) == near(motion(0)) and cloud.box == BOX
            cloud.move(cloud.positions)
            assert edges_of(cloud) == near(motion(0))
            layers = [Ewald(cloud, 4, 13.0, period) for period in (box, None)]
            assert layers[0].num_waves == layers[1].num_waves


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("tiles", [False, True])
def test_whole_fields_are_put_together_after_a_move_too(comm, tiles):
    values = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(0))
    with Cloud.of(share(motion(0), comm), Within(RADIUS), comm, BOX, same_bits=tiles) as cloud:
        for step in range(4):
            if step:
                cloud.move(torch.from_numpy(motion(3 * step)[cloud.nodes]))
            assert torch.equal(cloud.gather(values[cloud.index]), values)
            assert torch.equal(cloud.scatter(values if comm.rank == 0 else None), values[cloud.index])


@pytest.mark.parallel([1, 2])
def test_a_gradient_is_along_the_edges_that_there_were(comm):
    x = torch.randn(POINTS, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = []
    for moves in (False, True):
        with Cloud.of(share(motion(0), comm), Within(RADIUS), comm, BOX) as cloud:
            torch.manual_seed(0)
            layer, nodes = GraphAttention(cloud, 4, 2).double(), cloud.nodes
            mine = x[nodes].requires_grad_()
            y = layer(mine).square().sum()
            if moves and comm.size == 1:  # over ranks the ghosts' own way back is gone, which is said
                cloud.move(torch.from_numpy(motion(9)[cloud.nodes]))
            gradients.append(torch.autograd.grad(y, mine)[0])
    assert torch.equal(*gradients)
