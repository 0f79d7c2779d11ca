"""Metrics survive a restart without a row twice."""

import csv

from hpcml.training.metrics import MetricsWriter


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(row["epoch"]), float(row["loss"])) for row in csv.DictReader(file)]


def test_rows_are_on_disk_at_once(tmp_path):
    with MetricsWriter(tmp_path) as metrics:
        metrics.write(1, loss=0.5)
        assert rows(tmp_path) == [(1, 0.5)]


def test_a_run_that_comes_back_replaces_what_it_computes_again(tmp_path):
    with MetricsWriter(tmp_path) as metrics:
        for epoch in (1, 2, 3):
            metrics.write(epoch, loss=float(epoch))
    with MetricsWriter(tmp_path, resume_after=1) as metrics:
        metrics.write(2, loss=20.0)
    assert rows(tmp_path) == [(1, 1.0), (2, 20.0)]
