"""Structured data: grids, the ranks that share them, and operators on fields."""

from hpcml.fields.domain import Domain, decompose
from hpcml.fields.grid import Grid

__all__ = ["Domain", "Grid", "decompose"]
