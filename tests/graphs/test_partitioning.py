"""Parts of a graph depend on the graph and their number alone, and what is counted of them is what ranks have."""

import sys
import tracemalloc

import numpy as np
import pytest
from mpi4py import MPI

from hpcml.core.errors import CommunicationError, ConfigError, ShapeError
from hpcml.graphs import Graph, PartitionReport, draw_partition, icosphere, partition, partition_table, structured, triangulated
from hpcml.graphs.partitioning import METHODS
from hpcml.topology.block import block_range

PACKAGES = {"metis": "pymetis", "kahip": "kahip"}


def share(rows, comm):
    mine = block_range(len(rows), comm.size, comm.rank)
    return rows[mine.start : mine.stop]


def brute_force(parts, edges, num_parts):
    """What each part has and needs, by sets."""
    begin, end = parts[edges[0]], parts[edges[1]]
    ghosts = [{int(edges[0, e]) for e in np.flatnonzero((end == p) & (begin != p))} for p in range(num_parts)]
    return [
        [int((parts == p).sum()) for p in range(num_parts)],
        [int((end == p).sum()) for p in range(num_parts)],
        [int(((end == p) & (begin != p)).sum()) for p in range(num_parts)],
        [len(of) for of in ghosts],
        [len({int(parts[node]) for node in of}) for of in ghosts],
    ]


def as_lists(report):
    return [of.tolist() for of in (report.nodes, report.edges, report.cut, report.ghosts, report.neighbors)]


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_parts_and_their_counts_do_not_depend_on_the_ranks(comm, method):
    if method in PACKAGES:
        pytest.importorskip(PACKAGES[method])
    mesh = triangulated(np.random.default_rng(0).random((300, 2)))
    edges = np.concatenate([mesh.edges()[:, ::-1], [[7, 3, 3], [7, 250, 250]]], 1)  # a node with itself, one way only, and twice
    whole = partition(mesh.points, edges, 5, comm.Split(comm.rank), method)
    own = partition(share(mesh.points, comm), share(edges.T, comm).T, 5, comm, method)
    assert np.array_equal(own, share(whole, comm)) and np.bincount(whole, minlength=5).max() <= 1.05 * 60
    report = PartitionReport.counted(own, share(edges.T, comm).T, 5, comm)
    assert as_lists(report) == brute_force(whole, edges, 5)


@pytest.mark.parallel([1, 2, 3, 4])
@pytest.mark.parametrize("method", ["bisection", "curve", "metis", "map"])
def test_a_graph_that_is_dealt_is_what_was_counted(comm, method):
    if method in PACKAGES:
        pytest.importorskip(PACKAGES[method])
    mesh = icosphere(2, multi_mesh=True)
    points, edges = share(mesh.points, comm), share(mesh.edges().T, comm).T
    if method == "map":
        method = share(np.random.default_rng(1).integers(0, max(comm.size - 1, 1), len(mesh.points)), comm)  # the last has no node
    parts = partition(points, edges, comm.size, comm, method)
    with Graph.deal(points, edges, comm, method) as graph:
        assert as_lists(PartitionReport.of(graph)) == as_lists(PartitionReport.counted(parts, edges, comm.size, comm))


def test_what_is_derived_is_what_it_says():
    mesh = structured((9, 9), (1.0, 1.0))
    parts = (mesh.points[:, 0] > 0.5).astype(np.int64)  # 5 columns of nodes and 4
    report = PartitionReport.counted(parts, mesh.edges(), 2)
    assert report.num_parts == 2 and report.ghosts.tolist() == [9, 9] and report.cut.sum() == 18
    assert report.cut_share == 18 / 288 and report.halo_share == 18 / 81 and report.node_imbalance == 45 / 40.5
    assert report.edge_imbalance == 161 / 144  # of 5 columns, with the 9 that come from the other side
    assert report.bytes_received(16, 8).tolist() == [9 * 16 * 8] * 2
    lines = partition_table([("halves", report), ("again", report)], 1000).splitlines()
    assert (
        len(lines) == 3 and len(set(map(len, lines))) == 1 and lines[1].startswith("halves  ") and lines[1].endswith("0.036 MB  0.072 MB")
    )


def test_thousands_of_ranks_are_counted_without_any():
    """Part sizes differ by one, a part has the neighbors that a part of a plane has, and their number does not grow with that of parts."""
    mesh = structured((256, 256), (1.0, 1.0))
    edges = mesh.edges()
    for num_parts in (64, 1024, 4096):
        report = PartitionReport.counted(partition(mesh.points, edges, num_parts, MPI.COMM_SELF), edges, num_parts)
        assert report.nodes.max() - report.nodes.min() == 0 and report.node_imbalance <= 1.05
        assert report.neighbors.max() == 4 and np.array_equal(report.ghosts, report.cut)
        side = 256 / num_parts**0.5
        assert report.ghosts.max() == 4 * side  # squares of the grid
        assert report.edges.sum() == edges.shape[1]
        held, share = report.nodes + report.edges + report.ghosts, (len(mesh.points) + edges.shape[1]) / num_parts
        assert held.max() <= (1.01 + 0.8 / side) * share  # a part's own, and ghosts around its square


@pytest.mark.parallel([1, 2])
def test_without_its_package_a_method_is_refused_on_every_rank(comm, monkeypatch):
    for method, package in PACKAGES.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=f"needs the package {package}"):
            partition(np.zeros((4, 2)), np.array([[0], [1]]), 2, comm, method)


@pytest.mark.parallel([1, 2, 3])
def test_what_is_wrong_on_one_rank_is_said_on_every_rank(comm, shared_path):
    last = comm.rank == comm.size - 1
    points, parts, good = share(np.random.default_rng(0).random((12, 2)), comm), share(np.arange(12) % 3, comm), np.array([[0], [11]])
    for edges in (np.array([[0], [12]]), np.array([[-1], [0]])):
        ends = edges if last else good
        for method in METHODS:
            with pytest.raises(ShapeError, match="global numbers below 12"):
                partition(points, ends, 3, comm, method)
        with pytest.raises(ShapeError, match="global numbers below 12"):
            PartitionReport.counted(parts, ends, 3, comm)
        with pytest.raises(ShapeError, match="global numbers below 12"):
            draw_partition(shared_path / "parts.png", points, parts, ends, comm)
    for wrong, words in ((np.zeros((1, 2)), "integers"), (np.zeros(3, int), "integers")):
        with pytest.raises(ShapeError, match=words):
            partition(points, wrong if last else good, 3, comm, "curve")
    with pytest.raises(ShapeError, match="from 0 to 2"):
        PartitionReport.counted(parts + (3 if last else 0), good, 3, comm)
    with pytest.raises(ShapeError, match="one part or more, got 0"):
        partition(points, good, 0, comm)
    with pytest.raises(ShapeError, match="lies at"):
        partition(points * (np.nan if last else 1), good, 3, comm)
    if comm.size > 1:
        with pytest.raises(CommunicationError, match="a map"):
            partition(points, good, 3, comm, parts if last else "curve")


@pytest.mark.parallel([1, 2])
def test_graphs_without_edges_and_without_nodes_are_dealt(comm):
    for method in METHODS:
        if method in PACKAGES:
            pytest.importorskip(PACKAGES[method])
        for count in (0, 1, 3):
            points = share(np.arange(float(count))[:, None], comm)
            parts = partition(points, np.zeros((2, 0), np.int64), 2, comm, method)
            assert parts.shape == (len(points),) and set(parts.tolist()) <= {0, 1}
    with pytest.raises(ShapeError, match="bisection, curve, metis, kahip"):
        partition(points, np.zeros((2, 0), np.int64), 2, comm, "spectral")


@pytest.mark.parallel([1, 2])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_partition_is_drawn_by_the_first_rank(comm, dims, shared_path):
    image = pytest.importorskip("matplotlib.image")
    rng = np.random.default_rng(0)
    points, edges = rng.random((100, dims)), rng.integers(0, 100, (2, 150))
    own, ends = share(points, comm), share(edges.T, comm).T
    path = draw_partition(shared_path / "parts.png", own, partition(own, ends, 4, comm), ends, comm)
    comm.Barrier()
    picture = image.imread(path)[..., :3]
    colors = {tuple(pixel) for pixel in np.round(picture.reshape(-1, 3) * 255).astype(int)}
    assert min(picture.shape[:2]) > 500 and sum(max(color) - min(color) > 150 for color in colors) >= 4  # four bright ones
    with pytest.raises(ConfigError, match=r"cannot write the picture .*parts.xyz"):
        draw_partition(shared_path / "parts.xyz", own, partition(own, ends, 4, comm), ends, comm)


@pytest.mark.parallel([2, 3, 4])
@pytest.mark.parametrize("method", ["bisection", "curve"])
def test_a_rank_never_needs_more_than_its_share_to_deal_a_graph(comm, method):
    """Of what one rank needs to deal all of it alone; NumPy's memory is counted, in which everything is worked out."""
    mesh = structured((150, 150), (1.0, 1.0))
    edges = mesh.edges()

    def peak(points, edges, comm):
        tracemalloc.start()
        Graph.deal(points, edges, comm, method).close()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    mine = share(mesh.points, comm).copy(), share(edges.T, comm).T.copy()
    peak(*(mesh.points[:4], edges[:, :2]), MPI.COMM_SELF)  # what is imported and kept at the first time
    alone = peak(mesh.points, edges, MPI.COMM_SELF)
    assert peak(*mine, comm) <= 1.3 * alone / comm.size
