"""Where a model runs."""

from __future__ import annotations

import torch

from polypool._errors import first_line
from polypool.corpus.errors import CorpusError


def device_of(name: str | None) -> str:
    """A device that can be used here; an accelerator where there is one when None.

    Raises:
        CorpusError: torch knows no such device, or this machine or this installation has none.

    Example:
        >>> from polypool.corpus.devices import device_of
        >>> device_of("cpu")
        'cpu'
        >>> device_of("abacus")
        Traceback (most recent call last):
        polypool.corpus.errors.CorpusError: device must be one of torch, such as cpu or cuda; found 'abacus'.
    """
    if name is None:
        found = torch.accelerator.current_accelerator(check_available=True)
        return "cpu" if found is None else str(found)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CorpusError(f"device must be one of torch, such as cpu or cuda; found {name!r}.") from error
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise CorpusError(f"device {name} cannot be used here: {first_line(error)}.") from error
    return str(device)
