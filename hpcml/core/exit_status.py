"""Exit statuses that a batch script tells apart."""

PREEMPTED = 85
"""Of a run that was asked to stop, has saved its state and wants to go on later."""
LOST = 86
"""Of a run that waits in vain for some of its ranks, and may go on from its last checkpoint."""
