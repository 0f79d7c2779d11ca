"""Every kernel file becomes machine code for sm_80 and sm_90 without a GPU, by NVRTC and by nvcc."""

import os
import shutil
from pathlib import Path

import pytest

from hpcml.core.errors import DeviceError
from hpcml.kernels.cubin import compile_nvcc, compile_nvrtc, nvrtc_found, open_cubin, write_cubin
from hpcml.kernels.source import read_source, source_names

ARCHES = ["sm_80", "sm_90"]
needs_nvrtc = pytest.mark.skipif(not nvrtc_found(), reason="NVRTC is not installed (cupy-cuda12x with nvidia-cuda-nvrtc-cu12)")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not in PATH")


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", source_names())
def test_nvrtc_compiles_every_variant(name, arch):
    source = read_source(name)
    for types in source.variants():
        cubin = compile_nvrtc(source, types, arch)
        assert cubin[:4] == b"\x7fELF" and all(kernel.encode() in cubin for kernel in source.signatures)


@needs_nvcc
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", source_names())
def test_nvcc_compiles_every_file(name, arch):
    source = read_source(name)
    assert compile_nvcc(source, next(source.variants()), arch)[:4] == b"\x7fELF"


@needs_nvrtc
def test_errors_name_file_and_line(tmp_path):
    file = tmp_path / "broken.cu"
    file.write_text('// Broken.\n\nextern "C" __global__ void broken(int* x) { x[0] = y; }\n')
    with pytest.raises(DeviceError, match=r'broken.cu\(3\): error: identifier "y" is undefined'):
        compile_nvrtc(read_source(file), {}, "sm_90")
    with pytest.raises(DeviceError, match="for sm_1"):
        compile_nvrtc(read_source("faces"), {"REAL": "float"}, "sm_1")


@needs_nvrtc
def test_a_cubin_made_elsewhere_is_found_and_the_cache_is_left_alone(tmp_path, monkeypatch):
    source, types = read_source("faces"), {"REAL": "double"}
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "cache"))
    made = write_cubin(source, types, "sm_80", tmp_path / "cubins")
    monkeypatch.setenv("HPCML_CUBINS", str(tmp_path / "cubins"))
    assert where(open_cubin(source, types, "sm_80")) == made
    assert not (tmp_path / "cache").exists()
    assert where(open_cubin(source, types, "sm_90")).parent == tmp_path / "cache" / "kernels"
    made.chmod(0o666)  # now anybody may have written it
    assert where(open_cubin(source, types, "sm_80")).parent == tmp_path / "cache" / "kernels"


def where(descriptor):
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    os.close(descriptor)
    return path


def test_without_nvcc_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="load the CUDA toolkit's module"):
        compile_nvcc(read_source("faces"), {"REAL": "float"}, "sm_90")
