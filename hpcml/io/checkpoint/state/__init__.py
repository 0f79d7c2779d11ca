"""A state: taken apart (`flat_state`), described (`layout`), copied into an HDF5 file in memory (`image`), and read back (`load`).

Each array is replicated, `Blocked` or `Rows` (`placement`); `plan` says which `box` of it each rank writes, `index` which one wrote it.
What is written of all ranks is shown as one file by a `view` of references.
"""
