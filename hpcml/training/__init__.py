"""Training: data, loss, optimiser and loop, over groups of ranks that each hold the whole domain."""
