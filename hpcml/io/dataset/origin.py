"""What a layout has no place for, remembered beside the values in files that are written here: names, orders, boundaries, units."""

import json
from dataclasses import replace

import h5py

from hpcml.core.errors import CheckpointError
from hpcml.core.json_text import parse_json
from hpcml.core.printable import printable
from hpcml.io.dataset.description import Description, Field

ATTRIBUTE = "hpcml_origin"
ATTRIBUTE_NUMBERS = 4096
"""Most numbers that an attribute is given: HDF5 stores at most 64 KiB in one."""
UNKNOWN = "open"
"""What a layout that must name a boundary calls one of which nothing is known; the attribute then says that."""


def write_origin(file: h5py.File, description: Description) -> None:
    """Note it in an attribute of the file's root, which other readers ignore.

    Communication
    -------------
    Local.
    """
    space = description
    units = {entry.name: entry.unit for entry in space.fields if entry.unit}
    note = {
        "name": space.name,
        "fields": [[entry.name, entry.order, entry.varies_in_time] for entry in space.fields],
        "periodic": space.periodic,
        "dims": space.dims,
        "boundaries": space.boundaries,
        "units": {"fields": units, "time": space.time_unit, "length": space.length_unit},
        "located": space.located,
    }
    file.attrs[ATTRIBUTE] = json.dumps(note)


def read_origin(file: h5py.File, description: Description, named: bool = False) -> Description:
    """The description with what the attribute adds, if the file has one; what the layout itself says stays.

    Parameters
    ----------
    file : h5py.File
        The file.
    description : Description
        What its layout says.
    named : bool
        Whether the layout itself names the fields, so that the attribute tells their order only.

    Raises
    ------
    CheckpointError
        If both say something of the fields and contradict each other.

    Communication
    -------------
    Local.
    """
    if ATTRIBUTE not in file.attrs:
        return description
    note = parse_json(file.attrs[ATTRIBUTE])
    units = note.get("units", {"fields": {}, "time": "", "length": ""})
    fields = tuple(Field(name, order, varies, units["fields"].get(name, "")) for name, order, varies in note["fields"])
    if named:
        fields = _in_order(file, description, fields)
    words = description.boundaries or ("",) * description.num_dims
    places = [word == UNKNOWN and said is None for word, said in zip(words, note["periodic"], strict=True)]
    pairs = zip(description.periodic, note["periodic"], places, strict=True)
    closed = (said if known is None or place else known for known, said, place in pairs)
    kept = tuple("" if place else word for word, place in zip(words, places, strict=True))
    return replace(
        description,
        name=note["name"],
        fields=fields,
        periodic=tuple(closed),
        boundaries=kept if any(kept) else tuple(note.get("boundaries", ())) if not description.boundaries else (),
        dims=description.dims or tuple(note.get("dims", ())),
        time_unit=description.time_unit or units["time"],
        length_unit=description.length_unit or units["length"],
        located=note.get("located", True),
    )


def unit_of(thing: h5py.Dataset | h5py.Group) -> str:
    """What the attribute ``units`` says, which many programs write."""
    unit = thing.attrs.get("units", "")
    return unit.decode() if isinstance(unit, bytes) else str(unit)


def _in_order(file: h5py.File, description: Description, noted: tuple[Field, ...]) -> tuple[Field, ...]:
    """The layout's fields as noted in the attribute, with units from whichever has them."""
    own = {entry.name: entry for entry in description.fields}
    if {(f.name, f.order, f.varies_in_time) for f in noted} != {(f.name, f.order, f.varies_in_time) for f in description.fields}:
        raise CheckpointError(
            f"{file.filename} contradicts itself: it lists the fields {printable(', '.join(own))}, and its attribute {ATTRIBUTE} "
            f"{printable(', '.join(entry.name for entry in noted))}, with tensor orders and whether they vary in time: remove the attribute"
        )
    return tuple(replace(entry, unit=own[entry.name].unit or entry.unit) for entry in noted)
