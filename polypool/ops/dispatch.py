"""Which implementation runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

KINDS = ("auto", "reference", "numba", "triton")
AVAILABLE = ("auto", "reference")

_choice: ContextVar[str] = ContextVar("polypool_kernels", default="auto")


def choice() -> str:
    """The implementation asked for: `"auto"` unless a `kernels` block says otherwise."""
    return _choice.get()


@contextmanager
def kernels(kind: str = "auto") -> Iterator[None]:
    """Chooses what computes a pooling inside a `with` block.

    `"reference"` is plain torch, the definition of every operator. `"auto"` takes the fastest that is installed.
    This version carries the reference alone, so the two are the same.

    Args:
        kind: `"auto"`, `"reference"`, `"numba"` or `"triton"`.

    Raises:
        ValueError: The kind is unknown.
        RuntimeError: The kind is known, but its kernels are not in this version.

    Example:
        >>> import torch, polypool as pp
        >>> with pp.kernels("reference"):
        ...     pp.build("mean")(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    if kind not in KINDS:
        raise ValueError(f"kernels must be one of {', '.join(KINDS)}; found {kind!r}.")
    if kind not in AVAILABLE:
        raise RuntimeError(
            f"this version of polypool has no {kind} kernels; choose from {', '.join(AVAILABLE)}."
        )
    token = _choice.set(kind)
    try:
        yield
    finally:
        _choice.reset(token)
