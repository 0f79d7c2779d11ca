"""What `make` does with an environment that was left half made; a stand-in for Python tells what it was asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAKE = """#!/bin/sh
echo "$0 $*" >> {log}
case "$*" in
    "-m pip --version") exit {without_pip} ;;
    "-m venv --clear "*) mkdir -p "$4/bin"; sed 's/exit 1 ;;/exit 0 ;;/' "$0" > "$4/bin/python"; chmod +x "$4/bin/python" ;;
esac
"""


def fake(path, log, without_pip):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.format(log=log, without_pip=int(without_pip)))
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("left", ["nothing", "no pip", "whole"])
def test_an_environment_that_was_left_half_made_is_made_again(tmp_path, left):
    log, venv, python = tmp_path / "asked", tmp_path / "venv", tmp_path / "python3"
    fake(python, log, without_pip=True)
    if left != "nothing":
        fake(venv / "bin" / "python", log, without_pip=left == "no pip")
    done = subprocess.run(["make", "install", f"VENV={venv}", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    asked = log.read_text().splitlines()
    assert (f"{python} -m venv --clear {venv}" in asked) == (left != "whole")
    assert [line.split(" -m ")[1].split()[:2] for line in asked][-2:] == [["pip", "install"]] * 2
    assert (venv / "installed").exists() and (venv / "runnable").exists()
