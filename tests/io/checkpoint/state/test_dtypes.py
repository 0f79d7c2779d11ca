"""Every element type comes back as it was."""

import numpy as np
import pytest
import torch

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.dtypes import as_tensor, dtype_name, storage_dtype

TORCH = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.bool, torch.int8, torch.uint8, torch.int64]


@pytest.mark.parametrize("dtype", [*TORCH, torch.float8_e4m3fn])
def test_tensors_share_the_stored_memory(dtype):
    name = dtype_name(torch.zeros(3, dtype=dtype), "x")
    stored = np.zeros(3, storage_dtype(name))
    tensor = as_tensor(stored, name)
    assert tensor.dtype is dtype and stored.itemsize == dtype.itemsize
    tensor.copy_(torch.tensor([0.0, 1.0, 1.0]).to(dtype))
    assert stored[0] == 0 and stored[1] == stored[2] != 0


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([object()]), torch.eye(2).to_sparse()])
def test_what_is_not_plain_numbers_is_refused(array):
    with pytest.raises(CheckpointError, match="entry model/x"):
        dtype_name(array, "model/x")


def test_a_type_from_the_future_is_named():
    with pytest.raises(CheckpointError, match="float4_e9"):
        storage_dtype("float4_e9")
