"""The checks, in the order in which they run; importing a module files its checks."""

from polypool.testing.checks import (  # noqa: I001 - the order of the report
    layouts as _layouts,  # noqa: F401
    cells as _cells,  # noqa: F401
    unread as _unread,  # noqa: F401
    special as _special,  # noqa: F401
    weights as _weights,  # noqa: F401
    contributions as _contributions,  # noqa: F401
    accuracy as _accuracy,  # noqa: F401
    derivatives as _derivatives,  # noqa: F401
    transforms as _transforms,  # noqa: F401
    programs as _programs,  # noqa: F401
    modules as _modules,  # noqa: F401
    streaming as _streaming,  # noqa: F401
    card as _card,  # noqa: F401
)
