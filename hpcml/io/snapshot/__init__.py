"""Fields of a running simulation or roll-out: appended so that no kill loses a step, and readable at any moment."""
