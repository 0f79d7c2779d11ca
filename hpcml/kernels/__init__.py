"""Load and launch the CUDA C of ``kernels/`` on a GPU or on the CPU; one wrapper and one twin per kernel."""
