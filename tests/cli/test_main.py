"""The command: light to start, one line and a status for an error, nothing from ranks above zero about what all know."""

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hpcml
from hpcml.cli import main as command
from hpcml.cli.main import COMMANDS, main
from hpcml.core.errors import HpcmlError
from hpcml.mpi import launcher

CASE = "[data]\nkind = 'tensors'\ntrain = 'train.pt'\n[model]\nname = 'fno'\n"


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "case.toml"
    path.write_text(CASE)
    return path


def _hpcml(*words, **environ):
    """Run ``python -m hpcml`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hpcml", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(hpcml.__file__).parents[1],
        env={**os.environ, **environ},
    )


def test_every_file_beside_main_that_adds_a_parser_is_a_command():
    names = [path.stem for path in Path(command.__file__).parent.glob("*.py")]
    assert sorted(COMMANDS) == sorted(n for n in names if hasattr(import_module(f"hpcml.cli.{n}"), "add_parser"))


def test_python_dash_m_is_the_command():
    assert _hpcml("--version").stdout == f"hpcml {hpcml.__version__}\n"


def test_a_request_to_stop_that_comes_once_all_is_done_does_no_harm():
    code = """
import os, signal, sys
from hpcml.__main__ import start

class Late:  # freed when Python has let go of its signal handlers
    def __del__(self, kill=os.kill, this=os.getpid(), number=signal.SIGUSR1):
        kill(this, number)

late, sys.argv = Late(), ["hpcml", "config", "schema"]
sys.exit(start())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and result.stdout.startswith("{"), result


def test_python_without_docstrings_runs_it_as_well():
    result = subprocess.run([sys.executable, "-OO", "-m", "hpcml", "--help"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "machine learning" in result.stdout


def test_without_a_command_the_usage_is_shown():
    result = _hpcml()
    assert result.returncode == 2 and "COMMAND" in result.stderr


def test_config_show_prints_a_complete_case_that_reads_back(case, capsys, tmp_path):
    assert main(["config", "show", str(case), "--set", "training.epochs=7", "--set", "model.modes=[3, 4]"]) == 0
    shown = capsys.readouterr().out
    assert "epochs = 7" in shown and "learning_rate" in shown
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert main(["config", "show", str(again)]) == 0
    assert capsys.readouterr().out == shown


def test_a_mistake_is_one_line_and_status_two(case):
    result = _hpcml("config", "show", str(case), "--set", "training.epoch=7")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == "hpcml: error: --set training.epoch=7: unknown key training.epoch: did you mean training.epochs?\n"


@pytest.mark.parallel([1, 2])
def test_an_error_on_one_of_many_ranks_is_left_to_their_hook(case, capsys):
    from mpi4py import MPI

    words = ["config", "show", str(case), "--set", "training.epochs=x"]
    if MPI.COMM_WORLD.size == 1:
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("hpcml: error: --set training.epochs=x")
    else:
        with pytest.raises(HpcmlError, match="epochs"):
            main(words)


def test_ranks_above_zero_do_not_repeat_the_usage(monkeypatch, capsys):
    said = []
    for rank in (0, 1):
        monkeypatch.setattr(command, "detect", lambda rank=rank: launcher.Launch("mpiexec", 2, rank, rank))
        with pytest.raises(SystemExit, match="2"):
            main(["nonsense"])
        said.append("".join(capsys.readouterr()))
    assert "invalid choice: 'nonsense'" in said[0] and said[1] == ""


@pytest.mark.parametrize("words", [("train", "nowhere.toml"), ("train", "nowhere.toml", "--set", "x"), ("trian", "case.toml"), ("train",)])
def test_a_job_says_once_what_is_wrong(mpiexec, words):
    result = mpiexec(3, "-m", "hpcml", *words)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("error:") == 1 and "Traceback" not in result.stderr, result.stderr


@pytest.mark.parametrize(
    "shell, out, status, error",
    [
        ("{} config schema | head -n 1", "{\n", 0, ""),
        ("{} config schema >&-", "", 0, ""),
        ("{} config schema >&- 2>&-", "", 0, ""),
        (
            "{} config schema > /dev/full",
            "",
            2,
            "hpcml: error: cannot write: No space left on device; the disk is full: free some space, or keep fewer checkpoints\n",
        ),
    ],
    ids=["reader left", "closed", "all closed", "full"],
)
def test_an_output_that_nobody_takes(shell, out, status, error):
    command = ["bash", "-o", "pipefail", "-c", shell.format(f"{sys.executable} -m hpcml")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(hpcml.__file__).parents[1], timeout=300)
    assert (result.stdout, result.returncode, result.stderr) == (out, status, error)


def test_an_error_of_another_family_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("hpcml.cli.config.read_case", lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["config", "show", "case.toml"])


def _actions(parser, words=()):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _actions(inner, (*words, name))
        elif action.type not in (None, Path):
            yield " ".join((*words, action.option_strings[0])), action


NUMBERS = dict(_actions(command.build_parser()))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_no_command_can_use_is_refused_where_it_is_read(name):
    action = NUMBERS[name]
    for text in ("nan", "inf", "-1", "-1e300", "1e300", "9" * 25, "9" * 5000, "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=r"^expected a (whole )?number from \S+ to \S+, got '.{0,44}'$"):
            action.type(text)
    assert action.default is None or action.type(str(action.default)) == action.default


def test_a_command_says_which_number_is_wrong(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["watch", "run", "--poll", "nan"])
    assert capsys.readouterr().err.endswith("error: argument --poll: expected a number from 0 to 1000000, got 'nan'\n")


def _failing(monkeypatch, error):
    def fail(args):
        raise error

    monkeypatch.setattr("hpcml.cli.config.read_case", fail)


TORCH = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 45 bytes. Error"


@pytest.mark.parametrize("error", [RuntimeError(f"{TORCH}\nframe #0"), RuntimeError(TORCH), RuntimeError(TORCH.partition(": ")[2])])
def test_memory_that_is_short_is_said_in_words_for_users(error, monkeypatch, capsys):
    _failing(monkeypatch, error)
    assert main(["config", "show", "case.toml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hpcml: error: memory is short: can't allocate memory: you tried to allocate 45 bytes. Error; take more nodes")
    assert said.endswith("data.trajectories or the options of the model\n")


@pytest.mark.parametrize(
    "words", [["data", "show", "case.toml/a"], ["kernels", "compile", "--output", "case.toml"], ["watch", "case.toml"]]
)
def test_a_path_of_the_arguments_that_cannot_be_used_is_one_sentence(words, case, monkeypatch, capsys):
    monkeypatch.chdir(case.parent)
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_path_that_cannot_be_used_is_a_fault_of_ours(monkeypatch):
    _failing(monkeypatch, FileNotFoundError(2, "No such file", "/ours"))
    with pytest.raises(FileNotFoundError):
        main(["config", "show", "case.toml"])


def test_names_in_an_error_cannot_act_on_a_terminal(monkeypatch, capsys):
    def run(args):
        raise HpcmlError("no field größe\x1b[2J\n  one more line")

    monkeypatch.setattr("hpcml.cli.info.run", run)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == "hpcml: error: no field größe\\x1b[2J\n  one more line\n"
