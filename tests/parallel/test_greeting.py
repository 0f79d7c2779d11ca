"""The first words of two ranks: those of a greeting that was given up are not taken for those of the next."""

import pytest
import torch

from hpcml.core.errors import CommunicationError, LostRankError
from hpcml.fields import Grid, decompose
from hpcml.mpi.process import Process
from hpcml.parallel.transport.greeting import Offer, greet


def offer(call):
    return Offer(Process.own(), call=call)


@pytest.mark.parallel([2])
def test_an_offer_that_was_given_up_is_answered_by_nobody(comm, monkeypatch):
    own, other = comm.Dup(), 1 - comm.rank
    if comm.rank == 0:
        with monkeypatch.context() as short, pytest.raises(LostRankError, match="the first halo"):
            short.setenv("HPCML_PATIENCE_S", "0.2")
            greet(own, {other: offer("halo")})
        own.send(None, other)
    else:
        own.recv(source=other, tag=0)  # what was sent before on this communicator has come too
    theirs, shared = greet(own, {other: offer("roll")})
    assert theirs[other].call == "roll" and not shared
    comm.Barrier()
    own.Free()


@pytest.mark.parallel([3])
def test_who_disagrees_with_one_leaves_no_other_waiting(comm):
    """Ranks 0 and 1 are about to do different things, and rank 2 waits for both."""
    own = comm.Dup()
    offers = {peer: offer("pad" if {comm.rank, peer} == {0, 1} and comm.rank else "roll") for peer in range(3) if peer != comm.rank}
    with pytest.raises(CommunicationError, match="ranks disagree|has given up roll, in which rank 2 waits"):
        greet(own, offers)
    comm.Barrier()
    assert set(greet(own, {peer: offer("again") for peer in offers})[0]) == set(offers)
    comm.Barrier()
    own.Free()


@pytest.mark.parallel([2, 3])
def test_a_field_without_samples_on_one_rank_alone_is_refused_on_all_of_its_neighbors(comm):
    """Also where all ranks had none before; then there is nothing to do."""
    with decompose(Grid((12, 6)), comm.Dup()) as domain:
        empty = torch.zeros(0, 1, *domain.local_shape)
        assert domain.halo(empty)[0].shape[0] == 0
        with pytest.raises(CommunicationError, match=r"ranks disagree about what they exchange: .*\(0, 1\)|has given up"):
            domain.halo(torch.zeros(0 if comm.rank == 1 else 2, 1, *domain.local_shape))
