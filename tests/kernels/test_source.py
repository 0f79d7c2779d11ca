"""Kernel files: each says what it does, has twins that exist, and is read as one text with true line numbers."""

import importlib
import re

import pytest

from hpcml.core.errors import DeviceError
from hpcml.core.resources import resource_path
from hpcml.kernels.signature import Parameter
from hpcml.kernels.source import read_source, source_names


@pytest.mark.parametrize("name", source_names())
def test_every_file_states_layout_launch_aliasing_determinism_and_an_existing_twin(name):
    text = resource_path("kernels", f"{name}.cu").read_text()
    header = text[: text.index("#include")]
    for field in ("Types ", "Layout ", "Launch ", "Aliasing ", "Determinism: ", "Twin: "):
        assert field in header
    module, twin = re.search(r"Twin: (\w+)\.(\w+)", header).groups()
    assert callable(getattr(importlib.import_module(f"hpcml.kernels.{module}"), twin))


@pytest.mark.parametrize("name", source_names())
def test_every_kernel_of_a_file_runs_on_the_cpu_and_is_named_in_its_header(name):
    source = read_source(name)
    assert source.needs_gpu is None
    header = source.text[: source.text.index("\n\n", source.text.index("// Types"))]
    assert all(kernel in header for kernel in source.signatures)


def test_headers_are_pasted_once_with_true_line_numbers(tmp_path):
    (tmp_path / "a.h").write_text('#include "b.h"\nint in_a;\n')
    (tmp_path / "b.h").write_text("int in_b;\n")
    file = tmp_path / "k.cu"
    file.write_text('// K.\n#include "a.h"\n#include "b.h"\nextern "C" __global__ void k(int n) {}\n')
    lines = read_source(file).text.splitlines()
    assert lines == [
        *(f'#line 1 "{file}"', "// K."),
        *(f'#line 1 "{tmp_path}/a.h"', f'#line 1 "{tmp_path}/b.h"', "int in_b;"),
        *(f'#line 2 "{tmp_path}/a.h"', "int in_a;", f'#line 3 "{file}"', ""),
        'extern "C" __global__ void k(int n) {}',
    ]


def test_arguments_types_and_variants_are_read(tmp_path):
    file = tmp_path / "k.cu"
    file.write_text(
        "// K.\n// Types    REAL: float, double; INDEX: int\n"
        'extern "C" __global__ void k(REAL* __restrict__ out,\n const REAL* const* list, const INDEX *i, unsigned long long n)\n{}\n'
    )
    source = read_source(file)
    assert source.signatures["k"].parameters == (
        Parameter("out", "REAL", 1, False),
        Parameter("list", "REAL", 2, True),
        Parameter("i", "INDEX", 1, True),
        Parameter("n", "unsigned long long", 0, False),
    )
    assert list(source.variants()) == [{"REAL": "float", "INDEX": "int"}, {"REAL": "double", "INDEX": "int"}]


def test_what_only_a_gpu_has_is_found(tmp_path):
    file = tmp_path / "k.cu"
    file.write_text('extern "C" __global__ void k(int n) { atomicAdd(0, n); __syncthreads(); }\n')
    source = read_source(file)
    assert source.needs_gpu == "atomicAdd" and source.synchronises


def test_a_missing_file_a_file_without_kernel_and_a_strange_argument_are_named(tmp_path):
    with pytest.raises(DeviceError, match="no kernel file .*stensil.cu: expected one of .*stencil"):
        read_source("stensil")
    (tmp_path / "empty.cu").write_text("int x;\n")
    with pytest.raises(DeviceError, match="holds no kernel"):
        read_source(tmp_path / "empty.cu")
    (tmp_path / "odd.cu").write_text('extern "C" __global__ void k(float*** x) {}\n')
    with pytest.raises(DeviceError, match=r"cannot pass .*float\*\*\* x"):
        read_source(tmp_path / "odd.cu")
