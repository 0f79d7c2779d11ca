"""A nested state taken apart into its shape, its plain values and its arrays, and put together again.

    {"model": {"w": tensor}, "epoch": 3}   <->   structure, values [3], leaves [("model/w", tensor)]

The structure is the same from step to step, so only values and arrays are touched while training waits.
"""

import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np

from hpcml.core.errors import CheckpointError
from hpcml.io.checkpoint.state.placement import Blocked, Rows


@dataclass(slots=True)
class FlatState:
    """A state taken apart.

    Attributes
    ----------
    structure : nested list
        ``["map", [[key, node], ...]]``, ``["list", [node, ...]]``, ``["tuple", [node, ...]]``, ``["array", index]`` or
        ``["value", index]``; ready for JSON.
    values : list
        None, bool, int, float and str as they are, bytes as ``{"bytes": base64}``.
    names : list of str
        Path of each array in the state, ``model/conv.weight``.
    leaves : list
        The arrays, not copied.
    """

    structure: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)


def flatten(state: Mapping[str, Any]) -> FlatState:
    """Take a state apart.

    Raises
    ------
    CheckpointError
        For a value of a type that cannot be stored, naming its path.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> flatten({"w": np.zeros(2), "epoch": 3}).structure
    ['map', [['w', ['array', 0]], ['epoch', ['value', 0]]]]
    """
    flat = FlatState()
    flat.structure = _take_apart(state, "", flat)
    return flat


def unflatten(structure: Sequence[Any], values: Sequence[Any], arrays: Sequence[Any]) -> Any:
    """Put a state together from its structure, values and arrays; the inverse of `flatten`.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> unflatten(["list", [["value", 0], ["array", 0]]], ["a"], ["b"])
    ['a', 'b']
    """
    kind, body = structure
    if kind == "map":
        return {key: unflatten(node, values, arrays) for key, node in body}
    if kind in ("list", "tuple"):
        items = [unflatten(node, values, arrays) for node in body]
        return items if kind == "list" else tuple(items)
    if kind == "array":
        return arrays[body]
    value = values[body]
    return b64decode(value["bytes"]) if isinstance(value, dict) else value


def _take_apart(node: Any, path: str, flat: FlatState) -> list[Any]:
    if isinstance(node, Blocked | Rows | np.ndarray) or _is_tensor(node):
        flat.names.append(path)
        flat.leaves.append(node)
        return ["array", len(flat.leaves) - 1]
    if isinstance(node, Mapping):
        return ["map", [[_key(key, path), _take_apart(value, _join(path, key), flat)] for key, value in node.items()]]
    if isinstance(node, list | tuple):
        return [
            "list" if isinstance(node, list) else "tuple",
            [_take_apart(value, _join(path, index), flat) for index, value in enumerate(node)],
        ]
    if isinstance(node, np.generic):
        node = node.item()
    if isinstance(node, bytes | bytearray):
        node = {"bytes": b64encode(node).decode()}
    elif not (node is None or isinstance(node, bool | int | float | str)):
        raise CheckpointError(
            f"entry {path or '(the state itself)'} is a {type(node).__name__}; a checkpoint stores tensors, arrays, None, bool, int, "
            "float, str, bytes and mappings, lists and tuples of them: turn it into those in get_state"
        )
    flat.values.append(node)
    return ["value", len(flat.values) - 1]


def _is_tensor(node: Any) -> bool:
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it; whoever has none need not
    return torch is not None and isinstance(node, torch.Tensor)


def _key(key: Any, path: str) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise CheckpointError(f"entry {path or '(the state itself)'} has the key {key!r} of type {type(key).__name__}: use str or int keys")


def _join(path: str, key: Any) -> str:
    name = quote(str(key), safe=" !#$&'()*+,-.:;<=>?@[]^_{|}~") or "%"
    name = name.replace(".", "%2E") if name in (".", "..") else name
    return f"{path}/{name}" if path else name
