"""``hpcml kernels`` lists and compiles without a GPU, and on a login node."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import hpcml
from hpcml.cli.main import main
from hpcml.kernels import prebuilt
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.cubin import cubin_name, nvrtc_found
from hpcml.kernels.source import read_source, source_names

ROOT = Path(hpcml.__file__).parents[1]


def test_list_names_every_kernel_and_touches_neither_mpi_nor_torch():
    code = "from hpcml.cli.main import main; main(['kernels', 'list']); import sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    listing, modules = out.rstrip().rsplit("\n", 1)
    for name in source_names():
        assert f"{name}.cu  {read_source(name).summary}" in listing
        assert all(f"    {kernel}(" in listing for kernel in read_source(name).signatures)
    assert not {"torch", "mpi4py", "cupy"} & set(modules.split())


@pytest.mark.skipif(not nvrtc_found(), reason="NVRTC is not installed (cupy-cuda12x with nvidia-cuda-nvrtc-cu12)")
def test_compile_writes_every_variant_where_a_job_will_look(tmp_path, capsys):
    assert main(["kernels", "compile", "--arch", "sm_90", "--output", str(tmp_path)]) == 0
    expected = {cubin_name(s, types, "sm_90") for s in map(read_source, source_names()) for types in s.variants()}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert f"{len(expected)} cubins in {tmp_path}" in capsys.readouterr().out


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_libraries_for_another_processor_go_into_a_folder_of_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prebuilt, "source_names", lambda: ["segment"])
    monkeypatch.setattr(prebuilt, "_LIBRARIES", ())
    cpu = "x86-64-v3" if platform.machine() == "x86_64" else "cortex-a72"
    assert main(["kernels", "compile", "--cpu", cpu, "--output", str(tmp_path)]) == 0
    assert len(list((tmp_path / cpu).glob("segment-*.so"))) == 2
    assert capsys.readouterr().out.startswith(f"2 libraries for {cpu} in {tmp_path / cpu} by ")
    assert main(["kernels", "compile", "--cpu", "of-next-year", "--output", str(tmp_path)]) != 0


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("cpu", ["é", "of-next-year", "../znver3", ""])
def test_a_processor_that_the_compiler_does_not_know_is_one_sentence(cpu, tmp_path, capsys):
    assert main(["kernels", "compile", "--cpu", cpu, "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"does not know the processor {cpu}: expected what its option -m" in said and said.count("\n") == 1


def no_folder(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file"


@pytest.mark.parametrize("place", [no_folder, lambda tmp_path: Path("/proc/none"), lambda tmp_path: no_folder(tmp_path) / "below"])
def test_a_folder_that_cannot_be_written_is_one_sentence(place, tmp_path, capsys):
    assert main(["kernels", "compile", "--arch", "sm_80", "--output", str(place(tmp_path))]) == 2
    said = capsys.readouterr().err
    assert "cannot write machine code to" in said and "choose another folder with --output" in said and said.count("\n") == 1


@pytest.mark.skipif(not nvrtc_found(), reason="NVRTC is not installed (cupy-cuda12x with nvidia-cuda-nvrtc-cu12)")
@pytest.mark.parametrize("arch", ["sm_1", "é", "../../x"])
def test_an_architecture_that_nobody_knows_is_one_sentence(arch, tmp_path, capsys):
    assert main(["kernels", "compile", "--arch", arch, "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"for {arch}, which is no GPU architecture" in said and said.count("\n") == 1
