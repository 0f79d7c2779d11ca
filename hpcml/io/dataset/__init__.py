"""Datasets to learn from, in the field's own layouts: The Well's and PDEBench's, read and written by every rank in its own part.

open_dataset(path, comm)   ->  Dataset         any box of (trajectory, time, channel, cells)
create_dataset(path, ...)  ->  Dataset         the same, to be written to
convert(source, target)                        from one layout to another
"""

from hpcml.io.dataset.conversion import convert
from hpcml.io.dataset.create import create_dataset
from hpcml.io.dataset.dataset import Dataset, open_dataset
from hpcml.io.dataset.description import Description, Field
from hpcml.io.dataset.meaning import Meaning
from hpcml.io.dataset.mesh_rows import MeshRows

__all__ = ["Dataset", "Description", "Field", "Meaning", "MeshRows", "convert", "create_dataset", "open_dataset"]
