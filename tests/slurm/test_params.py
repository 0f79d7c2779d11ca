import pytest

from hpcml.core.errors import ConfigError
from hpcml.slurm import Row
from hpcml.slurm.params import read_params


def test_a_line_is_a_run_and_a_column_a_key(tmp_path):
    path = tmp_path / "params.csv"
    path.write_text("training.learning_rate, model.modes\n1e-3,4\n1e-2,\n\n")
    assert read_params(path) == (Row("1", ("training.learning_rate=1e-3", "model.modes=4")), Row("2", ("training.learning_rate=1e-2",)))
    path.write_text('name,output.folder\nslow,"a, ""b"""\n')
    assert read_params(path) == (Row("slow", ('output.folder=a, "b"',)),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *[("", "first line"), ("a.b\n", "0 lines"), ("a b,c\n1,2\n", "first line"), ("a.b,a.b\n1,2\n", "first line")],
        ("a\n1\n", "first line"),
        *[("a.b,c.d\n1\n", "line 2: expected 2 values, got 1"), ("name,a.b\nx,1\nx,2\n", "'x'"), ("name,a.b\n../x,1\n", "cannot name")],
        *[('a.b\n"1\n', "no CSV"), ("a.b\n" + "1\n" * 10_001, "10001 lines")],
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, text, said):
    path = tmp_path / "params.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_params(path)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.csv: No such file"):
        read_params(tmp_path / "nowhere.csv")
    (tmp_path / "a.csv").write_bytes(b"a.b\n\xff\n")
    with pytest.raises(ConfigError, match="no CSV file in UTF-8"):
        read_params(tmp_path / "a.csv")
