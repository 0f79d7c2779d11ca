"""What made the kernels that run here, for which processor, and which ways were chosen."""

from collections.abc import Mapping
from typing import Any

from hpcml.core.processor import processor_name
from hpcml.kernels.compiler import compiler_flags, find_compiler, fingerprint
from hpcml.kernels.prebuilt import prebuilt_folders
from hpcml.kernels.ways import known_way

_CHOSEN_BY = "measured on one thread, kernel over torch"


def describe_kernels() -> dict[str, Any]:
    """Processor, compiler, its version and flags, and folders of libraries made beforehand that fit here, ready for JSON.

    Communication
    -------------
    Local.
    """
    compiler = find_compiler()
    return {
        "processor": processor_name(),
        "compiler": compiler,
        "compiler_version": fingerprint(compiler)[0].splitlines()[0] if compiler else None,
        "flags": " ".join(compiler_flags()),
        "prebuilt": [str(folder) for folder in prebuilt_folders()],
    }


def describe_ways() -> dict[str, str]:
    """For every choice between ways what was measured and so is chosen, in words."""
    measured = known_way("convolution-blocks", "conv")
    if measured is None:
        return {"convolution": "not measured yet with this compiler and processor: done when a model on several ranks first needs it"}
    return {
        f"convolution.{way}.{dtype}.{cells} cells": _ratios(ratios)
        for way, of in measured.items()
        for dtype, by_cells in of.items()
        for cells, ratios in by_cells.items()
    }


def _ratios(ratios: Mapping[str, float]) -> str:
    return f"{_CHOSEN_BY}: " + ", ".join(f"{ratio} with {channels} channels" for channels, ratio in ratios.items())
