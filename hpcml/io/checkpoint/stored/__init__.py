"""Checkpoints on disk: which there are (`catalog`), what the record that makes one complete must say (`commit_record`), whether its bytes
are as they were written (`verify`, by `damaged_chunk`), and the file of one rank, open for reading (`stored_image`).
"""
