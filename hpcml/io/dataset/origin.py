"""What a layout has no place for, remembered beside the values in files that are written here: names, tensor orders, periodic dims."""

import json
from dataclasses import replace

import h5py

from hpcml.io.dataset.description import Description, Field

ATTRIBUTE = "hpcml_origin"


def write_origin(file: h5py.File, description: Description) -> None:
    """Note it in an attribute of the file's root, which other readers ignore.

    Communication
    -------------
    Local.
    """
    fields = [[entry.name, entry.order, entry.varies_in_time] for entry in description.fields]
    file.attrs[ATTRIBUTE] = json.dumps({"name": description.name, "fields": fields, "periodic": description.periodic})


def read_origin(file: h5py.File, description: Description) -> Description:
    """The description with what the attribute says, if the file has one.

    Communication
    -------------
    Local.
    """
    if ATTRIBUTE not in file.attrs:
        return description
    origin = json.loads(file.attrs[ATTRIBUTE])
    fields = tuple(Field(*entry) for entry in origin["fields"])
    return replace(description, name=origin["name"], fields=fields, periodic=tuple(origin["periodic"]))
