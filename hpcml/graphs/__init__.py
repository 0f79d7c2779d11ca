"""Unstructured data: graphs whose nodes are dealt to ranks."""

from typing import TYPE_CHECKING

from hpcml.core.lazy import lazily

if TYPE_CHECKING:
    from hpcml.graphs.graph import Graph

__all__ = ["Graph"]
__getattr__, __dir__ = lazily(__name__, {"Graph": "hpcml.graphs.graph"})
