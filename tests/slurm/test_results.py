import csv
import json
import os

import pytest

from hpcml.cli.main import main
from hpcml.core.errors import ConfigError
from hpcml.slurm.results import plot_results, read_results


def run(folder, name, rate, error=None, state="finished"):
    (folder / name).mkdir()
    (folder / name / "config.toml").write_text(f"[training]\nlearning_rate = {rate}\nepochs = 2\n[output]\nfolder = '{name}'\n")
    (folder / name / "status.json").write_text(json.dumps({"state": state, "step": 8, "ranks": 4}))
    (folder / name / "metrics.csv").write_text("step,epoch,seconds\n4,1,450\n8,2,450\n")
    if error is not None:
        (folder / name / "evaluation.json").write_text(json.dumps({"relative_l2": {"held out": error}}))


def test_runs_become_one_table_and_one_picture(tmp_path, capsys):
    run(tmp_path, "a", 0.1, 0.5)
    run(tmp_path, "b", 0.01, 0.25)
    run(tmp_path, "c", 0.001, state="stopped")
    assert main(["job", "results", str(tmp_path), "--png", str(tmp_path / "errors.png")]) == 0
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert rows[0] == {"run": "a", "state": "finished", "step": "8", "ranks": "4", "seconds": "900.0", "rank_hours": "1.0",
                       "error of held out": "0.5", "training.learning_rate": "0.1"}  # fmt: skip
    assert (rows[2]["state"], rows[2]["error of held out"]) == ("stopped", "")
    assert (tmp_path / "errors.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["job", "results", str(tmp_path), "--csv", str(tmp_path / "table.csv")]) == 0
    assert [*csv.DictReader((tmp_path / "table.csv").open())] == rows


def test_what_is_not_there_or_damaged_is_left_out(tmp_path):
    with pytest.raises(ConfigError, match="no run directories"):
        read_results(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.toml").write_text("[")
    (tmp_path / "a" / "evaluation.json").write_text("[1]")
    assert read_results(tmp_path) == [{"run": "a", "state": "nothing ran", "step": None, "ranks": None, "seconds": 0.0, "rank_hours": None}]
    with pytest.raises(ConfigError, match="no run has come to its errors"):
        plot_results(read_results(tmp_path), tmp_path / "a.png")
    assert main(["job", "results", str(tmp_path), "--csv", str(tmp_path / "no" / "table.csv")]) == 2


def test_what_another_has_written_is_neither_believed_nor_acted_on(tmp_path, capsys):
    run(tmp_path, "a", 0.1, 0.5, state="x\x1b[2J")
    (tmp_path / "b\x1b[2J").mkdir()
    (tmp_path / "b\x1b[2J" / "config.toml").write_text("")
    (tmp_path / "b\x1b[2J" / "status.json").write_text('{"state": "finished", "ranks": "many"}')
    assert main(["job", "results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\\x1b[2J") == 2 and "\x1b" not in shown and "many" not in shown


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["config.toml", "status.json", "evaluation.json", "metrics.csv"])
def test_a_pipe_is_not_waited_for_and_what_is_deep_or_long_is_left_out(name, tmp_path):
    for number, put in enumerate((os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.write_text("[" * 100_000))):
        run(tmp_path, str(number), 0.1, 0.5)
        (tmp_path / str(number) / name).unlink()
        put(tmp_path / str(number) / name)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.toml").write_text("")
    assert {row["run"] for row in read_results(tmp_path)} >= {"2", "whole"}
