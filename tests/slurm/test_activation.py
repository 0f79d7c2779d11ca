import subprocess
import sys
import venv

import pytest

from hpcml.core.errors import ConfigError
from hpcml.slurm.activation import activation


def test_a_virtual_environment_is_found_again(tmp_path):
    folder = tmp_path / "my env"
    venv.create(folder)
    lines = "\n".join(activation(str(folder)))
    found = subprocess.run(["bash", "-euc", f"{lines}\nwhich python"], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(folder / "bin" / "python")
    assert activation("none") == ()
    if sys.prefix != sys.base_prefix:
        assert activation() == activation(sys.prefix) != ()


def test_a_conda_environment_is_activated_by_its_root(tmp_path):
    root, folder = tmp_path / "conda", tmp_path / "conda" / "envs" / "a b"
    for path in (root / "bin", folder / "conda-meta"):
        path.mkdir(parents=True)
    (root / "bin" / "activate").write_text("")
    (line,) = activation(str(folder), {"CONDA_EXE": str(root / "bin" / "conda")})
    assert line == f"source {root}/bin/activate '{folder}'"
    assert activation(str(folder), {}) == (f"export PATH='{folder}'/bin:$PATH CONDA_PREFIX='{folder}'",)


def test_a_folder_that_is_no_environment_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected the folder of a virtual or a conda environment"):
        activation(str(tmp_path))
