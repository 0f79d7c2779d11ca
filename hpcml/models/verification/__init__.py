"""Does a model compute over ranks what it computes on one? `hpcml.verify`, and the matrix of all operators and their settings."""
