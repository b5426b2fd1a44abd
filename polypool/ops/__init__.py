"""What pooling computes, one folder per family: the definition in plain torch, and kernels that override it."""
