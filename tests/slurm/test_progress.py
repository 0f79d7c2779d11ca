import os

import pytest

from hpcml.slurm.progress import Progress, describe_progress, progress_of

HEADER = "step,epoch,train_loss,seconds\n"


def run(folder, rows, training):
    (folder / "metrics.csv").write_text(HEADER + "".join(f"{step},{epoch},0.1,{seconds}\n" for step, epoch, seconds in rows))
    (folder / "config.toml").write_text(f"[training]\n{training}\n")
    for step in (8, 12):
        (folder / "checkpoints" / f"step-{step:09}-abc").mkdir(parents=True)
    (folder / "checkpoints" / "step-000000008-abc" / "commit.json").write_text("")
    return progress_of(folder)


def test_step_checkpoint_and_time_to_go_are_found(tmp_path):
    found = run(tmp_path, [(4 * epoch, epoch, 2.0) for epoch in range(1, 11)], "epochs = 30")
    assert (found.step, found.last, found.saved, found.seconds_to_go) == (40, 120, 8, pytest.approx(40.0))
    assert "step 40 of 120, checkpoint of step 8 from" in describe_progress(found)


def test_updates_count_where_a_case_says_them(tmp_path):
    assert run(tmp_path, [(4, 1, 1.0), (8, 2, 1.0)], "epochs = 30\nupdates = 10").seconds_to_go == pytest.approx(0.5)


def test_what_cannot_be_read_is_not_known(tmp_path):
    assert progress_of(tmp_path) == Progress() and describe_progress(Progress()) == ""
    (tmp_path / "metrics.csv").write_text("step,epoch\n1")
    (tmp_path / "config.toml").write_text("[")
    assert progress_of(tmp_path) == Progress()
    (tmp_path / "metrics.csv").write_text(HEADER + "4,1,0.1,2.0\n8,2,0.1,2.")
    assert progress_of(tmp_path).step == 8


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["metrics.csv", "config.toml"])
def test_a_pipe_and_a_line_without_end_are_not_known(name, tmp_path):
    for number, put in enumerate((os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: os.truncate(path, 100 << 30))):
        (tmp_path / str(number)).mkdir()
        run(tmp_path / str(number), [(4, 1, 1.0), (8, 2, 1.0)], "epochs = 30")
        if number < 2:
            (tmp_path / str(number) / name).unlink()
        put(tmp_path / str(number) / name)
        assert progress_of(tmp_path / str(number)).seconds_to_go is None
