"""What survives the loss of a node: ranks of a `parity_group` send one another parts of their copies (`redundancy`) for their keepers to
compute and hold parity of (`kept_parity`); a restart finds what is still in `memory`, and computes what is not.
"""
