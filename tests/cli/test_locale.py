"""Names that are not ASCII, in any locale: of the folder, the case, the run, in the case and on the command line."""

import os
import shutil
import subprocess
import sys

import pytest

CASE = """
[grid]
shape = [8]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 2
held_out = 1
snapshots = 2
[model]
name = "fno"
channels = 2
modes = 2
layers = 1
[training]
epochs = 1
[output]
folder = "läufe 模"
"""

LATIN_1 = "de_DE.ISO-8859-1"
LOCALES = {
    "Latin-1": {"LC_ALL": LATIN_1, "PYTHONUTF8": "0"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "UTF-8": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"},
}
NAMES = {"UTF-8": "fälle 模".encode(), "Latin-1": "fälle".encode("latin-1")}


@pytest.fixture(scope="session")
def locales(tmp_path_factory):
    """Folder with the locale of Latin-1, made here since few machines have it."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / LATIN_1], capture_output=True)
    return folder


@pytest.fixture(params=LOCALES)
def hpcml(request, locales, tmp_path):
    """``hpcml(*words)`` in a folder with such a name; gives status, output and errors."""
    if request.param == "Latin-1" and not (locales / LATIN_1).exists():
        pytest.skip(f"localedef cannot make the locale {LATIN_1} here")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environment |= LOCALES[request.param] | {"LOCPATH": str(locales), "OMP_NUM_THREADS": "1"}

    def run(folder, *words):
        done = subprocess.run([sys.executable, "-m", "hpcml", *words], cwd=folder, env=environment, capture_output=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_job_script_names_the_files_by_their_bytes(name, hpcml, tmp_path):
    folder = os.fsencode(tmp_path / "ort") + name
    os.mkdir(folder)  # noqa: PTH102  a name of bytes
    with open(folder + b"/" + name + b".toml", "w", encoding="utf-8-sig") as file:  # noqa: PTH123
        file.write(CASE)
    status, script, errors = hpcml(folder, "job", "render", "train", name + b".toml", "--set", "output.folder=läufe")
    assert (status, errors) == (0, b"")
    lines = script.splitlines()
    assert b"run='l\xc3\xa4ufe/%s'" % name in lines
    assert b"command=(hpcml train '%s.toml' --run \"$run\" --set 'output.folder=l\xc3\xa4ufe')" % name in lines


@pytest.mark.parametrize(("hpcml", "name"), [("Latin-1", "Latin-1"), ("C", "UTF-8")], indirect=["hpcml"])
def test_a_run_goes_on_and_says_so_whatever_its_name(hpcml, name, tmp_path):
    name = NAMES[name]
    folder = os.fsencode(tmp_path / "ort") + name
    os.mkdir(folder)  # noqa: PTH102
    with open(folder + b"/" + name + b".toml", "wb") as file:  # noqa: PTH123
        file.write(CASE.encode())
    for _ in range(2):
        status, shown, errors = hpcml(folder, "train", name + b".toml")
        assert status == 0 and b"Traceback" not in errors and b"--- Logging error" not in errors, errors.decode()
    assert b"resuming after update 1" in shown and b"surrogate" not in errors
    run = folder + "/läufe 模/".encode() + name
    with open(run + b"/log/rank0000.log", encoding="utf-8") as log:  # noqa: PTH123
        assert "2 samples on" in log.read()
    status, shown, errors = hpcml(folder, "inspect", run + b"/checkpoints")
    assert status == 0 and b"Traceback" not in errors, errors.decode()


def test_what_no_case_can_hold_is_refused_in_a_sentence(hpcml, tmp_path):
    (tmp_path / "case.toml").write_text(CASE, encoding="utf-8")
    status, _, errors = hpcml(tmp_path, "config", "show", "case.toml", "--set", b"output.folder=l\xe4ufe")
    assert status == 2 and errors.startswith(b"hpcml: error: --set output.folder=l") and b"UTF-8" in errors and b"Traceback" not in errors
