"""Compression of fields that keeps every value within a bound, and proves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.core.errors import CheckpointError, ConfigError


@dataclass(frozen=True, slots=True)
class Compression:
    """Error-bounded compression; each chunk is read back after it was written and compared.

        |stored - written| <= error_bound      at every cell

    Attributes
    ----------
    name : str
        ``sz3`` or ``zfp``: SZ3 usually packs smooth fields tighter, ZFP is faster.
    error_bound : float
        In the unit of the field.

    Raises
    ------
    ConfigError
        For another name, a bound that is not positive, or without the package hdf5plugin.

    References
    ----------
    X. Liang et al., "SZ3: A Modular Framework for Composing Prediction-Based Error-Bounded Lossy Compressors", IEEE Transactions on Big
    Data 9 (2023). P. Lindstrom, "Fixed-Rate Compressed Floating-Point Arrays", IEEE Transactions on Visualization and Computer Graphics 20
    (2014).
    """

    name: str
    error_bound: float

    def __post_init__(self) -> None:
        if self.name not in ("sz3", "zfp") or not self.error_bound > 0:
            raise ConfigError(f"compression is sz3 or zfp with an error bound above 0, got {self.name} with {self.error_bound}")
        _filters()

    def options(self) -> Mapping[str, Any]:
        """Keywords for `h5py.Group.create_dataset`."""
        plugin = _filters()
        return plugin.SZ3(absolute=self.error_bound) if self.name == "sz3" else plugin.Zfp(accuracy=self.error_bound)

    def check(self, written: np.ndarray, stored: np.ndarray, name: str) -> None:
        """Compare what was written with what a reader gets.

        Raises
        ------
        CheckpointError
            Where a value is further off than the bound, or no longer finite.

        Communication
        -------------
        Local.
        """
        largest = float(np.abs(stored - written).max())
        if not largest <= self.error_bound:  # written so that NaN fails too
            raise CheckpointError(
                f"{self.name} did not keep {name} within its error bound: expected at most {self.error_bound:g}, got {largest:g}; take a "
                "larger bound, float64 fields, or no compression"
            )


def _filters() -> Any:
    try:
        import hdf5plugin
    except ImportError:
        raise ConfigError("compressed snapshots need the package hdf5plugin: pip install 'hpcml[files]'") from None
    return hdf5plugin
