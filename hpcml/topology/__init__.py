"""Who owns what: blocks of cells and the process grid they are dealt to."""

from hpcml.topology.block import BlockRange, block_range, owners_of
from hpcml.topology.process_grid import ProcessGrid, choose_dims

__all__ = ["BlockRange", "ProcessGrid", "block_range", "choose_dims", "owners_of"]
