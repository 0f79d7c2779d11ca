"""The process beside each rank that outlives it (`keeper`), the rank's line to it (`link`, by messages of a `channel`), and what it does:
write copies to `disk`, into files of removed checkpoints (`spare`), yielding the cores to training (`yielding`); and, once its rank is dead,
hand its memory over (`handover`) to a restart, which asks what keepers have `kept`; both know each other by a `session`.
"""
