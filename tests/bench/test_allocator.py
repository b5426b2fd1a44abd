"""Which kind of allocator a process has: told by its environment, found out by page faults."""

import os
import subprocess
import sys

import pytest

from polypool.bench import allocator

ASK = "from polypool.bench import allocator; print(allocator.kind_in_force())"


def test_environment() -> None:
    warm = allocator.environment("warm", {"A": "1"})
    assert warm["A"] == "1"
    assert set(warm) == {"A", *allocator.WARM}
    assert allocator.environment("default", warm) == {"A": "1"}


@pytest.mark.skipif(
    sys.platform != "linux" or allocator.huge_pages() == "always", reason="glibc, and pages that are counted"
)
@pytest.mark.parametrize("kind", allocator.KINDS)
def test_what_is_in_force(kind: str) -> None:
    environment = allocator.environment(kind, os.environ)
    said = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == kind
