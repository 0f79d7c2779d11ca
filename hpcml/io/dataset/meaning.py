"""What the numbers of a data set stand for, and whether those of another stand for the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from hpcml.core.errors import ConfigError
from hpcml.io.dataset.axis import Axis, same_times
from hpcml.io.dataset.description import Description, Field


@dataclass(frozen=True, slots=True)
class Meaning:
    """What whoever learns from numbers relies on: training and held-out sets, roll-outs and the files of a folder are compared by it.

    Attributes
    ----------
    inputs, targets : tuple of Field
        What goes in and what comes out, in the order of the channels; of files that are joined, no inputs and everything as targets.
    axes : tuple of Axis
        The grid.
    times : tuple of float
        Of an input and its target, counted from the input; of files that are joined, those of the values.
    time_unit : str
        Of the times; empty if nothing is known.
    source : str
        Where the data are from, for messages; no part of what they mean.
    mesh : str
        Fingerprint of the mesh that the values lie on; empty on a grid.

    Notes
    -----
    What one side does not know (a unit, a boundary, a box) does not differ from anything.
    """

    inputs: tuple[Field, ...]
    targets: tuple[Field, ...]
    axes: tuple[Axis, ...]
    times: tuple[float, ...]
    time_unit: str = ""
    source: str = field(default="", compare=False)
    mesh: str = ""

    @classmethod
    def of_pairs(cls, space: Description, inputs: Sequence[str], targets: Sequence[str], stride: int, source: str) -> Self:
        """Of pairs of one time and another ``stride`` times later, for fields by name.

        Raises
        ------
        ConfigError
            For fields that the dataset does not have, and grids and times that are not uniform.
        """
        fields = {entry.name: entry for entry in space.fields}
        space.channels_of([*inputs, *targets])
        ins, outs = (tuple(fields[name] for name in names) for names in (inputs, targets))
        interval = stride * space.interval if stride else 0.0
        return cls(ins, outs, space.axes, (0.0, interval), space.time_unit, source, space.fingerprint)

    @classmethod
    def of_file(cls, space: Description, names: Sequence[str], source: str) -> Self:
        """Of everything in a file, its fields in the order given where they have these names."""
        own = {entry.name: entry for entry in space.fields}
        fields = tuple(own[name] for name in names) if set(own) == set(names) else space.fields
        return cls((), fields, space.spans, space.times, space.time_unit, source)

    @property
    def interval(self) -> float:
        """Time from an input to its target; 0 in steady problems, and where there is no time."""
        return self.times[-1] - self.times[0] if self.times else 0.0

    @property
    def conditions(self) -> tuple[Field, ...]:
        """Inputs that are given beside those to be predicted, after them; none where the inputs do not begin with the targets."""
        count = len(self.targets)
        return self.inputs[count:] if self.inputs[:count] == self.targets else ()

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of inputs and targets."""
        return tuple(entry.name for entry in self.inputs), tuple(entry.name for entry in self.targets)

    def found_in(self, space: Description, source: str) -> tuple["Meaning", int]:
        """What the fields of these names mean in another dataset, and how many of its times lie from an input to its target.

        Raises
        ------
        ConfigError
            If it lacks a field, or its grid or times are not uniform.

        Communication
        -------------
        Local.
        """
        inputs, targets = self.names
        there = [entry.name for entry in space.fields]
        if absent := [name for name in dict.fromkeys([*inputs, *targets]) if name not in there]:
            raise ConfigError(
                f"{source} does not go with {self.source}: it has no field {', '.join(absent)} but {', '.join(there)}; fields are found by "
                "name: rename them in the file, or take other data"
            )
        between = space.interval if self.interval and space.num_times > 1 else 0.0
        stride = max(1, round(self.interval / between)) if between else int(self.interval > 0)
        return self.of_pairs(space, inputs, targets, stride, source), stride

    def filled(self, other: "Meaning") -> "Meaning":
        """The other with the boundaries that only this one knows."""
        axes = (replace(there, boundary=there.boundary or here.boundary) for here, there in zip(self.axes, other.axes, strict=True))
        return replace(other, axes=tuple(axes))

    def check(self, other: "Meaning", same_grid: bool = False) -> None:
        """Refuse another that means something else.

        Parameters
        ----------
        other : Meaning
            What shall be as this is.
        same_grid : bool
            Whether the numbers of cells count too; otherwise the box may be resolved more or less finely.

        Raises
        ------
        ConfigError
            Naming the first thing that differs, here and there.

        Communication
        -------------
        Local.
        """
        for item, expected, got in self._differences(other, same_grid):
            raise ConfigError(
                f"{other.source} does not go with {self.source}: {item} should be {expected or 'none'}, got {got or 'none'}; data that are "
                "used together mean the same: take other data, or mend the file if it does not say what it holds"
            )

    def to_state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `to_state`."""
        inputs, targets = (tuple(Field(**entry) for entry in state[name]) for name in ("inputs", "targets"))
        axes = tuple(Axis(**axis) for axis in state["axes"])
        return cls(inputs, targets, axes, tuple(state["times"]), state["time_unit"], state["source"], state.get("mesh", ""))

    def _differences(self, other: "Meaning", same_grid: bool) -> Iterator[tuple[str, str, str]]:
        """What differs: name, here, there."""
        kinds = ("the inputs", "the targets" if self.inputs else "the fields")
        for kind, ours, theirs in zip(kinds, (self.inputs, self.targets), (other.inputs, other.targets), strict=True):
            names, found = (", ".join(entry.name for entry in entries) for entries in (ours, theirs))
            if names != found:
                yield kind, names, found
            for one, two in zip(ours, theirs, strict=False):
                if one.order != two.order:
                    yield f"the tensor order of {one.name}", str(one.order), str(two.order)
                if _differ(one.unit, two.unit):
                    yield f"the unit of {one.name}", one.unit, two.unit
        if same_grid and _differ(self.mesh, other.mesh):
            yield "the mesh", self.mesh, other.mesh
        dims, found = (", ".join(axis.name for axis in meaning.axes) for meaning in (self, other))
        if dims != found:
            yield "the dims", dims, found
        for here, there in zip(self.axes, other.axes, strict=False):
            if _differ(here.unit, there.unit):
                yield f"the unit of {here.name}", here.unit, there.unit
            if same_grid and here.cells != there.cells:
                yield f"the cells along {here.name}", str(here.cells), str(there.cells)
            if not here.has_box_of(there):
                yield f"the box along {here.name}", here.box, there.box
            if not here.has_boundary_of(there):
                yield f"the boundary along {here.name}", here.boundary, there.boundary
        if _differ(self.time_unit, other.time_unit):
            yield "the unit of time", self.time_unit, other.time_unit
        if not same_times(self.times, other.times):
            yield ("the time from input to target" if self.inputs else "the times"), _row(self), _row(other)


def _differ(one: str, two: str) -> bool:
    return bool(one and two) and one != two


def _row(meaning: Meaning) -> str:
    times = meaning.times
    return f"{meaning.interval:.6g}" if meaning.inputs else f"{len(times)} from {times[0]:.6g} to {times[-1]:.6g}" if times else "none"
