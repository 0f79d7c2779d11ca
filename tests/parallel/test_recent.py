"""However many batch sizes come, a plan holds exchanges for a few: files, memory and tags do not grow, and all numbers are right."""

import gc
from pathlib import Path

import pytest
import torch

from hpcml.fields import Grid, decompose
from hpcml.fields.fft import rfftn
from hpcml.mpi.message_tags import MessageTags
from hpcml.parallel import recent
from hpcml.parallel.recent import Recent


def test_the_one_that_was_not_asked_for_longest_is_closed(monkeypatch):
    monkeypatch.setattr(recent, "MOST", 2)
    closed = []

    class Thing:
        def __init__(self, key):
            self.key = key

        def close(self):
            closed.append(self.key)

    kept = Recent()
    for key in "abacab":
        if kept.get(key) is None:
            assert kept.add(key, Thing(key)).key == key
        else:
            kept.move_to_end(key)
    assert closed == ["b", "c"] and set(kept) == {"a", "b"}
    kept.close()
    assert sorted(closed) == ["a", "b", "b", "c"] and len(kept) == 0


def _held():
    gc.collect()
    maps = Path("/proc/self/maps").read_text().splitlines()
    return len(list(Path("/proc/self/fd").iterdir())), sum("hpcml-exchange" in line for line in maps)


@pytest.mark.parallel([1, 2, 3])
@pytest.mark.parametrize("backend", ["shared", "mpi"])
def test_new_batch_sizes_hold_nothing_more(comm, monkeypatch, backend):
    monkeypatch.setattr(recent, "MOST", 4)
    monkeypatch.setenv("HPCML_HALO_BACKEND", backend)
    with decompose(Grid((6, 5)), comm, dims=(comm.size, 1)) as domain:
        held = []
        for batch in (*range(1, 13), 1):  # the first comes again after it was closed
            whole = torch.arange(batch * 30, dtype=torch.float64).view(batch, 1, 6, 5)
            x = whole[domain.index].clone().requires_grad_()
            wide, lines = domain.halo(x)[0], rfftn(domain, x)
            padded = torch.cat([whole[..., -1:, :], whole, whole[..., :1, :]], -2)
            r = domain.block[0]
            assert torch.equal(wide[..., 1:-1], padded[..., r.start : r.stop + 2, :])
            (wide.sum() + lines.real.sum()).backward()
            assert float(x.grad.min()) > 0
            held.append((*_held(), len(MessageTags.of(domain.comm)._used)))
        assert held[4:] == held[4:5] * 9, held
