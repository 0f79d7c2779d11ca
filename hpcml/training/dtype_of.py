"""The precision of a case."""

import torch

from hpcml.core.case import Case


def dtype_of(case: Case) -> torch.dtype:
    """Precision that a case asks for."""
    return {"float32": torch.float32, "float64": torch.float64}[case.training.dtype]
