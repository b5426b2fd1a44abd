"""What `polypool.vision` holds, and that it is there when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polypool import vision


def test_everything_that_is_listed_is_there() -> None:
    for name in vision.__all__:
        assert getattr(vision, name).__doc__
        assert name in dir(vision)


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match=r"module 'polypool\.vision' has no attribute 'pool'"):
        vision.pool  # noqa: B018


def test_it_pulls_in_nothing_heavy() -> None:
    program = (
        "import sys, polypool.vision; "
        "print([m for m in ('matplotlib', 'PIL', 'sklearn', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
