"""Differentiable communication: every operator linear, with its adjoint, any number of times differentiable."""

from hpcml.parallel.adjoint import adjoint_error
from hpcml.parallel.collectives import all_gather, all_reduce, broadcast, sum_reduce
from hpcml.parallel.decomposition import Decomposition
from hpcml.parallel.deep_halo import DeepHalo
from hpcml.parallel.exchange import Exchange, traffic
from hpcml.parallel.halo_plan import HaloPlan
from hpcml.parallel.layout import Layout
from hpcml.parallel.replicated import global_sum, replicated
from hpcml.parallel.space import Space
from hpcml.parallel.stages import Stages
from hpcml.parallel.sum_points import sum_points
from hpcml.parallel.tiles import Tiles
from hpcml.parallel.window import window, window_adjoint
from hpcml.parallel.window_plan import WindowPlan

__all__ = [
    "Decomposition",
    "DeepHalo",
    "Exchange",
    "HaloPlan",
    "Layout",
    "Space",
    "Stages",
    "Tiles",
    "WindowPlan",
    "adjoint_error",
    "all_gather",
    "all_reduce",
    "broadcast",
    "global_sum",
    "replicated",
    "sum_points",
    "sum_reduce",
    "traffic",
    "window",
    "window_adjoint",
]
