"""The process beside each rank that outlives it (`keeper`), the rank's line to it (`link`, by messages of a `channel`), and what it does:
write copies to `disk`, into files of removed checkpoints (`spare`), while training goes first (`yielding`); once its rank is dead, hand its
memory over (`handover`) to a restart, which asks what keepers have `kept`. A `session` lets the two know each other.
"""
