"""Structured data: grids, the ranks that share them, and operators on fields."""

from hpcml.fields.decompose import decompose
from hpcml.fields.domain import Domain
from hpcml.fields.grid import Grid

__all__ = ["Domain", "Grid", "decompose"]
