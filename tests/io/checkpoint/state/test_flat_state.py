"""A state taken apart and put together is the same state."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.flat_state import flatten, unflatten
from hpcml.io.checkpoint.state.image import to_json

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.text() | st.integers()
states = st.dictionaries(
    keys,
    st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner), max_leaves=12),
)


@given(states)
def test_values_survive_json(state):
    import json

    flat = flatten(state)
    structure, values = json.loads(to_json([flat.structure, flat.values]))
    assert unflatten(structure, values, []) == state


def test_arrays_are_named_and_not_copied():
    w, m = torch.zeros(2), np.zeros(3)
    flat = flatten({"model": {"a/b": w}, "state": {0: [m]}, "nan": math.nan, "n": np.float32(0.5)})
    assert flat.names == ["model/a%2Fb", "state/0/0"] and flat.leaves[0] is w and flat.leaves[1] is m
    assert flat.values[1] == 0.5


@pytest.mark.parametrize(("state", "path"), [({"a": {"b": {1, 2}}}, "a/b is a set"), ({"a": {1.5: 0}}, "a has the key 1.5"), (3, None)])
def test_what_cannot_be_stored_is_named(state, path):
    if path is None:
        assert flatten(state).structure == ["value", 0]
    else:
        with pytest.raises(CheckpointError, match=path):
            flatten(state)


@pytest.mark.parametrize("key", [".", "..", "", "%", "/"])
def test_every_key_is_a_name_in_a_file(key):
    (name,) = flatten({key: np.zeros(1)}).names
    assert name not in (".", "..", "") and "/" not in name
