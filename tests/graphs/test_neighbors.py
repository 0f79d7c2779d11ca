"""Points that are near are found by ranks together as by looking at every pair."""

import numpy as np
import pytest

from hpcml.core.errors import ConfigError, ShapeError
from hpcml.graphs import Graph, Nearest, Within, power
from hpcml.graphs.partitioning import partition

BOXES = {"free": lambda dims: None, "periodic": lambda dims: (1.0,) * dims, "channel": lambda dims: (0.0, *(1.0,) * (dims - 1))}


def points_of(kind, dims):
    """At random, some of them twice, or on a grid, where many are equally far; all within the unit box."""
    rng = np.random.default_rng(dims)
    if kind == "grid":
        side = (17, 6, 4)[dims - 1] if dims > 1 else 16
        spacing = 0.125 if dims > 1 else 0.0625  # exact
        points = spacing * np.stack(np.meshgrid(*[np.arange(side)] * dims, indexing="ij"), -1).reshape(-1, dims)
        return rng.permutation(points)
    points = rng.random((90, dims))
    return np.concatenate([points, points[:5]])


@pytest.mark.parallel([1, 2, 3])
def test_edges_that_no_memory_holds_are_one_sentence_on_every_rank(comm, monkeypatch):
    points, numbers = np.random.default_rng(comm.rank).random((20, 2)), np.arange(20) + 20 * comm.rank
    graph = Graph.deal(points, np.stack([numbers, (numbers + 1) % (20 * comm.size)]), comm)

    def fails(*arguments, **how):
        raise MemoryError("Unable to allocate 12.3 TiB")

    if comm.rank == comm.size - 1:
        monkeypatch.setattr("hpcml.graphs.neighbors._squares", fails)
        monkeypatch.setattr(np, "lexsort", fails)
    with pytest.raises(ConfigError, match="no memory for the edges between all points .*12.3 TiB.*: take a smaller radius"):
        Within(0.5)(points, numbers, comm)
    with pytest.raises(ConfigError, match="no memory for all edges of 2 hops .*: take fewer hops"):
        power(graph, 2)


def by_pairs(points, box):
    """Squares of all distances, by the shortest of all ways around."""
    difference = points[:, None] - points[None]
    if box is not None:
        ways = [np.abs(difference + way * np.array(box)) for way in (-1, 0, 1)]
        difference = np.minimum.reduce(ways)
    squares = np.sum(difference**2, -1)
    np.fill_diagonal(squares, np.inf)
    return squares


def found(neighbors, points, comm, box, parts):
    numbers = np.flatnonzero(parts == comm.rank)
    edges = neighbors(points[numbers], numbers, comm, box)
    assert np.isin(edges[1], numbers).all() and edges.dtype == np.int64
    assert np.array_equal(np.lexsort(edges), np.arange(edges.shape[1]))
    return sorted(edge for part in comm.allgather(edges.T.tolist()) for edge in map(tuple, part))


def ways(points, comm):
    return {
        "compact": partition(points, np.zeros((2, 0), np.int64), comm.size, comm.Split(comm.rank)),
        "scattered": np.arange(len(points)) % max(comm.size - 1, 1),  # the last of several ranks has none
        "few": np.where(np.arange(len(points)) < 3, comm.size - 1, 0),  # fewer on the last than are sought
    }


@pytest.mark.parallel([1, 2, 4])
@pytest.mark.parametrize("how", ["compact", "scattered", "few"])
@pytest.mark.parametrize("kind", ["random", "grid"])
@pytest.mark.parametrize("box", BOXES)
def test_neighbors_are_those_of_all_pairs(comm, box, kind, how):
    for dims in (1, 2, 3):
        points, lengths = points_of(kind, dims), BOXES[box](dims)
        squares, parts = by_pairs(points, lengths), ways(points, comm)[how]
        for radius in (0.125, 0.3):
            expected = sorted(map(tuple, np.argwhere(squares <= radius**2).tolist()))
            assert found(Within(radius), points, comm, lengths, parts) == expected
        for count in (1, 6, len(points) + 3):
            order = np.argsort(squares, 1, kind="stable")[:, : min(count, len(points) - 1)]  # of equally far ones the lower number
            expected = sorted((int(begin), end) for end, row in enumerate(order) for begin in row)
            assert found(Nearest(count), points, comm, lengths, parts) == expected


@pytest.mark.parallel([1, 2, 3])
def test_points_outside_of_the_box_are_where_they_come_again(comm):
    points = points_of("random", 2)
    turns = np.random.default_rng(0).integers(-2, 3, points.shape)
    parts = np.arange(len(points)) % comm.size
    expected = np.argwhere(by_pairs(points, (1.0, 1.0)) <= 0.04).tolist()
    assert found(Within(0.2), points + turns, comm, (1.0, 1.0), parts) == sorted(map(tuple, expected))


@pytest.mark.parallel([1, 2, 3])
def test_no_point_has_no_neighbor(comm):
    for neighbors in (Within(0.1), Nearest(3)):
        assert neighbors(np.zeros((0, 3)), np.zeros(0, np.int64), comm).shape == (2, 0)
        alone = np.zeros((int(comm.rank == 0), 3))
        assert neighbors(alone, np.zeros(len(alone), np.int64), comm).shape == (2, 0)


@pytest.mark.parallel([1, 2])
def test_what_is_wrong_is_said_on_every_rank(comm):
    points, numbers = np.random.default_rng(comm.rank).random((4, 2)), np.arange(4) + 4 * comm.rank
    for value in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ConfigError, match="radius is a positive number"):
            Within(value)
    with pytest.raises(ConfigError, match="1 nearest point or more, got 0"):
        Nearest(0)
    with pytest.raises(ConfigError, match="more than half of the box"):
        Within(0.6)(points, numbers, comm, (1.0, 0.0))
    with pytest.raises(ShapeError, match="a periodic box has 2 lengths"):
        Nearest(2)(points, numbers, comm, (1.0,))
    if comm.rank == comm.size - 1:
        points[2] = np.nan
    with pytest.raises(ShapeError, match="node 2 of those given here lies at"):
        Within(0.1)(points, numbers, comm)
