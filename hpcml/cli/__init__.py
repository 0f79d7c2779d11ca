"""The command `hpcml`: one file per sub-command."""
