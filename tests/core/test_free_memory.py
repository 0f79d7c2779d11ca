"""Memory that is free is what the node has and what every control group of the process leaves."""

import pytest

from hpcml.core.free_memory import free_memory


def files(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def machine(tmp_path):
    """A node with a hundred megabytes, and its folders of processes and groups."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    files(proc, meminfo=f"MemTotal: 999 kB\nMemAvailable: {100_000_000 // 1024} kB\n")
    (proc / "self").mkdir()
    return proc, groups


NODE = 100_000_000 // 1024 * 1024


def test_without_groups_the_node_counts_and_without_a_word_nothing(machine, tmp_path):
    assert free_memory(*machine) == NODE
    assert free_memory(tmp_path / "none", tmp_path / "none") == 1 << 62
    assert 0 < free_memory() < 1 << 62, "this machine"


@pytest.mark.parametrize(
    ("step", "job", "free"),
    [
        (("max", "5", 0), ("70000000", "50000000", 0), 20_000_000),  # a job's step without a limit of its own
        (("9000000", "5000000", 1000), ("70000000", "50000000", 0), 4_001_000),
        (("max", "5", 0), ("max", "5", 0), NODE),
        (("9000000", "9500000", 0), ("max", "5", 0), 0),
    ],
)
def test_the_narrowest_group_counts_in_the_second_version(machine, step, job, free):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/slurm/job_17/step_0\n")
    for name, (most, used, cached) in {"slurm/job_17/step_0": step, "slurm/job_17": job}.items():
        files(groups / name, memory__max=f"{most}\n", memory__current=used, memory__stat=f"anon 7\ninactive_file {cached}\n")
    assert free_memory(proc, groups) == free


def test_the_narrowest_group_counts_in_the_first_version(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("3:cpu,cpuacct:/x\n4:hugetlb,memory:/slurm/job_17\n0::/\n")
    top = {"memory__limit_in_bytes": "9223372036854771712", "memory__usage_in_bytes": "50"}
    files(groups / "memory", **top)
    job = {"memory__limit_in_bytes": "30000000", "memory__usage_in_bytes": "20000000", "memory__stat": "total_inactive_file 5\n"}
    files(groups / "memory" / "slurm" / "job_17", **job)
    assert free_memory(proc, groups) == 10_000_005


def test_a_group_whose_name_is_that_outside_of_a_container_does_not_matter(machine):
    proc, groups = machine
    (proc / "self" / "cgroup").write_text("0::/docker/abc\n")
    files(groups, memory__max="1000", memory__current="10")
    assert free_memory(proc, groups) == 990
