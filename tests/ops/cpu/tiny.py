"""A kernel that compiles in no time, for tests of how kernels are compiled."""

from __future__ import annotations

from typing import Any

from numba import carray

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import KIND, OWN, SIZE
from polypool.ops.cpu.like import lanes, size
from polypool.ops.cpu.vec import fetch_add
from polypool.ops.cpu.walk import half, put


def describe_vectors(pointer: Any) -> None:
    """Adds up what vectors there are: lanes of the wide ones, of the short ones, bytes in a lane."""
    job = carray(pointer, SIZE)
    fetch_add(pointer, OWN, lanes(WIDE(0)) * 10_000 + lanes(TAIL(0)) * 10 + size(WIDE(0)))
    job[OWN + 1] += 1


def widen_halves(pointer: Any) -> None:
    """As many numbers in half precision as a short vector has lanes, from one address to another."""
    job = carray(pointer, SIZE)
    put(job[OWN + 1], half(TAIL(0), job[OWN], None, job[KIND]), None)
