"""A domain deals a grid to ranks and puts it together again; resolutions and ranks are changed by asking it."""

import copy

import pytest
import torch

from hpcml.core.errors import CheckpointError, ShapeError, TopologyError
from hpcml.fields import Grid, decompose
from hpcml.models import UNet
from hpcml.parallel import adjoint_error


def whole_field(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)


@pytest.mark.parallel([1, 2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(13,), (9, 7), (7, 8, 6)], ids=str)
def test_scatter_and_gather_are_inverse(comm, shape):
    with decompose(Grid(shape), comm) as domain:
        whole = whole_field(2, 3, *shape)
        for root in range(comm.size):
            block = domain.scatter(whole if comm.rank == root else None, root)
            assert torch.equal(block, whole[domain.index])
            back = domain.gather(block, root)
            assert torch.equal(back, whole) if comm.rank == root else back.numel() == 0
        assert torch.equal(domain.gather(block), whole)


@pytest.mark.parallel([1, 2, 3, 4])
def test_gather_and_scatter_are_adjoint(comm):
    with decompose(Grid((9, 7)), comm) as domain:
        torch.manual_seed(comm.rank)
        x = torch.randn(2, *domain.local_shape, dtype=torch.float64)
        y = torch.randn(2, 9, 7, dtype=torch.float64) if comm.rank == 0 else torch.zeros(2, 0, 0, dtype=torch.float64)
        error = adjoint_error(lambda a: [domain.gather(a, 0)], lambda b: [domain.scatter(b if comm.rank == 0 else None)], [x], [y], comm)
        assert error < 1e-12  # the bar of every dot-product test


@pytest.mark.parallel([2, 3, 4, 6])
def test_repartition_moves_every_cell(comm):
    shape = (12, 13)
    with decompose(Grid(shape), comm, dims=(comm.size, 1)) as rows:
        columns = rows.with_dims((1, comm.size))
        whole = whole_field(2, 1, *shape)
        moved = rows.repartition(whole[rows.index], columns)
        assert torch.equal(moved, whole[columns.index])
        assert torch.equal(columns.repartition(moved, rows), whole[rows.index])


@pytest.mark.parallel([1, 2, 4])
def test_halo_moves_several_fields_at_once(comm):
    grid = Grid((8, 6), periodic=(True, False))
    with decompose(grid, comm) as domain:
        whole = whole_field(1, 2, 8, 6)
        a, b = domain.halo(whole[domain.index], -whole[domain.index], widths=((1, 2), (1, 1)))
        (r, c) = domain.block
        wide = torch.nn.functional.pad(torch.cat([whole[..., -1:, :], whole, whole[..., :2, :]], -2), (1, 1))
        assert torch.equal(a, wide[..., r.start : r.stop + 3, c.start : c.stop + 2])
        assert torch.equal(a, -b)


@pytest.mark.parallel([2, 4])
def test_groups_of_ranks_share_fields_of_their_own(comm):
    with decompose(Grid((8,)), comm, data=2) as domain:
        assert domain.comm.size == comm.size // 2 and domain.data_index == comm.rank // domain.comm.size
        field = torch.full((1, 1, *domain.local_shape), float(domain.data_index))
        assert torch.equal(domain.gather(field), torch.full((1, 1, 8), float(domain.data_index)))
        index = domain.global_index((3, 1))
        assert int(index.flatten()[0]) == domain.data_index * 3 * 8 + domain.block[0].start


@pytest.mark.parallel([1, 2, 3])
def test_centres_and_global_index_are_those_of_the_whole(comm):
    grid = Grid((6, 5), extent=(3.0, 1.0))
    with decompose(grid, comm) as domain:
        x, y = domain.centres()
        assert torch.equal(x.flatten(), ((torch.arange(6, dtype=torch.float64) + 0.5) * 0.5)[domain.block[0].start : domain.block[0].stop])
        assert y.shape == (1, domain.local_shape[1])
        assert torch.equal(domain.global_index((2, 3)), torch.arange(2 * 3 * 30).view(2, 3, 6, 5)[domain.index])


@pytest.mark.parallel([1, 2])
def test_siblings_are_the_same_object_and_are_not_copied(comm):
    with decompose(Grid((8, 8)), comm) as domain:
        coarse = domain.with_shape((4, 4))
        assert coarse is domain.with_shape((4, 4)) and coarse.with_shape((8, 8)) is domain
        assert copy.deepcopy(domain) is domain
        assert domain.serial() is domain.serial() and domain.serial().local_shape == (8, 8)


@pytest.mark.parallel([1, 2, 3])
def test_the_impossible_is_named(comm):
    with pytest.raises(TopologyError, match="groups"):
        decompose(Grid((8,)), comm, data=comm.size + 1)
    with pytest.raises(TopologyError, match="ranks"):
        decompose(Grid((8, 8)), comm, dims=(comm.size, 2))
    with decompose(Grid((8,)), comm) as domain, pytest.raises(ShapeError, match=r"ends in \(8,\)"):
        domain.scatter(torch.zeros(1, 1, 9))
    if comm.size > 1:
        with pytest.raises(TopologyError, match="own none|cell for each"):
            decompose(Grid((comm.size - 1,)), comm)


@pytest.mark.parallel([1, 2])
def test_a_model_is_saved_by_its_state_and_copied_as_it_is(comm, tmp_path):
    """Communicators belong to a run: a model that holds them says what to save instead."""
    with decompose(Grid((8, 8)), comm) as domain:
        model = UNet(domain, 1, 1, channels=4, levels=2)
        with pytest.raises(CheckpointError, match=r"Save model.state_dict\(\)"):
            torch.save(model, tmp_path / "model.pt")
        twin = copy.deepcopy(model)
        x = torch.ones(1, 1, *domain.local_shape)
        assert torch.equal(twin(x), model(x)) and next(twin.parameters()) is not next(model.parameters())
        torch.save(model.state_dict(), tmp_path / "model.pt")
        twin.load_state_dict(torch.load(tmp_path / "model.pt"))
