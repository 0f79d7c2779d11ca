"""Files that appear whole or not at all, are told by their checksums, and, those of HDF5, lead to no others outside their folder."""
