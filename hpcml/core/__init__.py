"""What every other package stands on: errors, configuration, log, environment, resources. No MPI, no torch."""
