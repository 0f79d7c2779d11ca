"""Libraries for other processors: made with any compiler, found by features, never loaded where they do not fit."""

import json
import os
import platform
import subprocess
import sys

import pytest

from hpcml.core.errors import DeviceError
from hpcml.core.processor import processor_features
from hpcml.kernels import prebuilt as module
from hpcml.kernels.compiler import find_compiler
from hpcml.kernels.prebuilt import build_for, library_name, prebuilt, prebuilt_found
from hpcml.kernels.source import read_source

CPU = "x86-64-v3" if platform.machine() == "x86_64" else "cortex-a72"
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")


@pytest.fixture
def few(monkeypatch):
    """Only one kernel file is made."""
    monkeypatch.setattr(module, "source_names", lambda: ["segment"])
    monkeypatch.setattr(module, "_LIBRARIES", ())
    module._fitting.cache_clear()
    yield
    module._fitting.cache_clear()


def folder_for(root, name, features, machine=None, content=b"code"):
    folder = root / name
    folder.mkdir(mode=0o700)
    (folder / "a.so").write_bytes(content)
    (folder / "processor.json").write_text(json.dumps({"machine": machine or platform.machine(), "features": features}))
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder


def read(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_the_library_with_the_most_features_that_fit_is_taken(tmp_path, few, monkeypatch):
    monkeypatch.setenv("HPCML_LIBRARIES", str(tmp_path))
    first, second, *_ = sorted(processor_features())
    folder_for(tmp_path, "plain", [], content=b"plain")
    folder_for(tmp_path, "later", [first, second, "of-a-later-processor"], content=b"later")
    folder_for(tmp_path, "better", [first, second], content=b"better")
    folder_for(tmp_path, "foreign", [first, second], machine="riscv64", content=b"foreign")
    assert read(prebuilt("a.so")) == b"better" and prebuilt("b.so") is None and prebuilt_found(asked_only=True)


def test_what_does_not_fit_or_is_not_safe_is_as_if_it_were_not_there(tmp_path, few, monkeypatch):
    monkeypatch.setenv("HPCML_LIBRARIES", str(tmp_path))
    folder_for(tmp_path, "later", ["of-a-later-processor"])
    folder_for(tmp_path, "shared", []).chmod(0o777)
    (folder_for(tmp_path, "damaged", []) / "processor.json").write_text('{"machine": ')
    assert not prebuilt_found() and prebuilt("a.so") is None


@needs_compiler
def test_a_node_without_a_compiler_runs_what_was_made_elsewhere(tmp_path, few):
    made = build_for(CPU, find_compiler(), tmp_path)
    assert {path.name for path in (tmp_path / CPU).iterdir()} == {path.name for path in made} | {"processor.json"}
    code = (
        "import numpy as np; from hpcml.kernels.kernel import Kernel\n"
        "x, out, source = np.arange(40.0), np.empty(40), np.arange(40)[::-1].copy()\n"
        "launch = Kernel('segment', 'gather', twin=print).bind(out, x, source, 40, 1, extent=(1, 40))\n"
        "launch(); print(out[0], launch.native)"
    )
    environment = {"PATH": str(tmp_path), "HPCML_LIBRARIES": str(tmp_path), "HPCML_CACHE": str(tmp_path / "empty"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("39.0 (") and not list((tmp_path / "empty").rglob("*.so")), done.stderr


@needs_compiler
def test_names_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(DeviceError, match="does not know the processor of-next-year"):
        build_for("of-next-year", find_compiler(), tmp_path)


def test_the_name_of_a_library_hangs_on_the_text_and_the_flags(monkeypatch):
    name = library_name("segment", read_source("segment").text)
    monkeypatch.setenv("HPCML_CXXFLAGS", "-march=x86-64-v3")
    assert library_name("segment", read_source("segment").text) == name
    monkeypatch.setenv("HPCML_CXXFLAGS", "-ffp-contract=fast")
    assert library_name("segment", read_source("segment").text) != name != library_name("segment", "another text")
