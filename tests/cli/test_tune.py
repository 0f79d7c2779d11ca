"""`hpcml tune` keeps what it has measured, and names the ranks it needs; `hpcml bench halo` gives the figures by which it is judged."""

import json

from hpcml.parallel.link import SIZES


def test_tune_keeps_a_time_for_every_size(mpiexec, tmp_path):
    result = mpiexec(2, "-m", "hpcml", "tune", env={"HPCML_CACHE": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "halo").iterdir()
    assert str(path) in result.stdout
    curves = json.loads(path.read_text())["curves"]["cpu"]
    assert "mpi" in curves and all([n for n, _ in curve] == list(SIZES) for curve in curves.values())
    assert all(seconds > 0 for curve in curves.values() for _, seconds in curve)


def test_the_wrong_number_of_ranks_is_named(mpiexec):
    result = mpiexec(1, "-m", "hpcml", "tune")
    assert result.returncode != 0 and "mpiexec -n 2 hpcml tune" in result.stderr


def test_bench_halo_compares_in_one_run_and_draws(mpiexec, tmp_path):
    shorten = "import hpcml.cli.benchmarks.halo as b, hpcml.cli.main as m; b.CASES = {(8, 8): 6}"
    result = mpiexec(2, "-c", f"{shorten}; m.main(['bench', 'halo', '--json', '--plot', r'{tmp_path / 'halo.png'}'])")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert {"vs_limit", "geomean", "worst", "vs_gloo"} <= set(figures) and all(v > 0 for name, v in figures.items() if name != "machine")
    assert (tmp_path / "halo.png").read_bytes().startswith(b"\x89PNG")
