"""The precision of a case."""

import torch

from hpcml.core.case import Case


def dtype_of(case: Case) -> torch.dtype:
    """Precision that a case asks for."""
    return {"float32": torch.float32, "float64": torch.float64}[case.training.dtype]


def half_of(case: Case) -> torch.dtype | None:
    """What of 16 bits the network of a case computes in, if it does."""
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[case.training.precision]
