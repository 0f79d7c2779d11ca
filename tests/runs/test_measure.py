import pytest

from hpcml.runs.measure import Measure


@pytest.mark.parametrize(
    ("values", "off"),
    [({}, []), ({"a": 9}, []), ({"a": 1, "b": 9}, ["b"]), ({"a": 1, "b": 2, "c": 2.5}, []), ({"a": 9, "b": 1, "c": 1, "d": 9}, ["a", "d"])],
)
def test_a_node_is_off_by_its_ratio_to_the_others(values, off):
    assert [text.split()[0] for text in Measure("x", values, "s", times=1.5 if len(values) == 4 else 3).off()] == off


def test_what_is_little_is_never_off():
    assert not Measure("x", {"a": 1e-6, "b": 1e-3}, "s", 3, least=0.01).off()


def test_few_values_are_told_and_of_many_the_ends():
    many = {f"n{k}": float(k) for k in range(1, 10)}
    assert Measure("x", many, "ms", 3).line() == "x: 1 (n1), median 5, 9 ms (n9)" and "nothing" in Measure("x", {}, "ms", 3).line()
