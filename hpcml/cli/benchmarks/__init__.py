"""What `hpcml bench` measures: one file per benchmark, see `hpcml.cli.bench`."""
