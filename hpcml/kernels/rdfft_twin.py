"""What the in-place transform means: torch's, packed. It makes other arrays, so that only the kernel is in place."""

import torch

from hpcml.kernels.arguments import Array, as_tensor


def rdfft_twin(a: Array, rows: int, row_stride: int, n: int, bits: int) -> None:
    """Real parts forward, imaginary parts backward."""
    tensor = as_tensor(a)
    spectrum = torch.fft.rfft(tensor)
    tensor[..., : n // 2 + 1] = spectrum.real
    tensor[..., n // 2 + 1 :] = spectrum.imag[..., 1 : (n + 1) // 2].flip(-1)


def irdfft_twin(a: Array, rows: int, row_stride: int, n: int, bits: int) -> None:
    """The same backward."""
    tensor = as_tensor(a)
    imaginary = torch.zeros_like(tensor[..., : n // 2 + 1])
    imaginary[..., 1 : (n + 1) // 2] = tensor[..., n // 2 + 1 :].flip(-1)
    tensor.copy_(torch.fft.irfft(torch.complex(tensor[..., : n // 2 + 1].contiguous(), imaginary), n))
