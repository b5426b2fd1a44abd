"""What the numba kernels of every family are written with."""
