"""How the bytes of an exchange travel: through shared memory, MPI or NCCL, whichever each pair of ranks agrees on."""
