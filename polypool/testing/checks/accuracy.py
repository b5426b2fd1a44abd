"""Rounding: half precision, large cells, large offsets, large numbers, and the same bits every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from polypool.testing.bags import Bags, constant, draw, generator
from polypool.testing.check import check
from polypool.testing.forms import all_forms, full_forms, one_of_each
from polypool.testing.measure import compare, describe, measured, pooled, separately
from polypool.testing.subject import Subject
from polypool.testing.tolerances import LARGE_CELL, LARGE_OFFSET, TOLERANCES, Skip, agree, identical, require

HALVES = (torch.float16, torch.bfloat16)
MANY = 70_000  # more than the largest float16, 65,504


@check()
def half_precision(subject: Subject) -> None:
    """float16 and bfloat16 are pooled in float32 and returned in the input's dtype; 70,000 ones have mean 1."""
    pool, wide = subject.pool(torch.float32), subject.pool()
    for dtype in HALVES:
        for sample in all_forms(subject.kinds, draw((9, 0, 40), subject.channels, dtype, seed=23)):
            found = measured(pool, sample)
            require(found.out.dtype == dtype, f"{describe(sample)}: the result is {found.out.dtype}")
            wanted = separately(subject, wide, sample)
            compare(found, wanted, describe(sample), TOLERANCES[dtype])
        many = many_elements(subject, dtype)
        for sample in one_of_each(subject.kinds, many):
            answers = [subject.alone(wide, x.double()).to(dtype) for x in many.elements]
            agree(pooled(pool, sample), torch.stack(answers), describe(sample, "70,000 elements in a cell"))


def many_elements(subject: Subject, dtype: torch.dtype) -> Bags:
    """A large cell of ones where the operator keeps constants, otherwise of two numbers; and a small one."""
    two = 1 + torch.arange(MANY * subject.channels).remainder(3).ne(0).view(MANY, subject.channels)
    big = torch.ones_like(two) if subject.card.constant_preserving else two
    return Bags((big.to(dtype), torch.full((3, subject.channels), 50.0, dtype=dtype)))


@check()
def large_offset_accuracy(subject: Subject) -> None:
    """Numbers around 10,000 with spread 1 keep their spread: nothing is lost to E[x^2] - E[x]^2."""
    bags = draw((2000, 500), subject.channels, seed=24)
    far = Bags(tuple((1e4 + x).float() for x in bags.elements))
    accurate(subject, far, "N(10000, 1)", offset=True)


@check()
def cell_size_accuracy(subject: Subject) -> None:
    """The float32 error does not grow with the cell: sums are blocked or compensated."""
    n = 200_000 if subject.level == "quick" else 2_000_000
    choice = torch.rand(n, subject.channels, generator=generator(25)) < 0.5
    # Running sums of 0.1 and 0.35 in float32 are both rounded down, again and again.
    accurate(
        subject,
        Bags((torch.where(choice, 0.1, 0.35), torch.full((2, subject.channels), 0.1))),
        f"{n:,} elements",
    )


def accurate(subject: Subject, bags: Bags, note: str, offset: bool = False) -> None:
    """float32 against float64 on the very same numbers."""
    pool, wide = subject.pool(torch.float32), subject.pool()
    wanted = torch.stack([subject.alone(wide, x.double()) for x in bags.elements])
    samples = [*one_of_each(subject.kinds, bags), *full_forms(subject.kinds, Bags(bags.elements[:1]))]
    for sample in samples:
        expected = wanted[: len(sample.members)]
        agree(pooled(pool, sample), expected, describe(sample, note), LARGE_OFFSET if offset else LARGE_CELL)


@check()
def extreme_values(subject: Subject) -> None:
    """A constant-preserving operator keeps a positive constant however large, without overflow on the way."""
    if not subject.card.constant_preserving:
        raise Skip("the card does not say constant-preserving")
    for dtype, values in {
        torch.float32: (1e30, 1e-4),
        torch.float16: (60000.0, 50.0),
        torch.bfloat16: (1e30,),
    }.items():
        pool = subject.pool(torch.float32)
        for value in values:
            for sample in one_of_each(subject.kinds, constant(value, (5, 1, 2), subject.channels, dtype)):
                out = pooled(pool, sample)
                scale = sample.cells().elements[0][0, 0]  # in the dtype, so that only pooling can be off
                agree(
                    out.double() / scale.double(),
                    torch.ones_like(out),
                    describe(sample, f"constant {value:g}"),
                    TOLERANCES[dtype],
                )


@check()
def deterministic(subject: Subject) -> None:
    """Two runs give the same bits, forward and backward, with one thread or two."""
    pool = subject.pool(torch.float32)
    # Threads begin where the number of elements says, and some functions round otherwise at a thread's ragged end.
    for n in (25_011,) if subject.level == "quick" else (25_011, 25_015, 25_016, 25_019):
        bags = draw((n, 1, 0, 700, 8000), subject.channels, torch.float32, seed=26)
        for sample in one_of_each(subject.kinds, bags):
            runs = []
            for threads in (1, 2):
                with thread_count(threads):
                    runs.append(measured(pool, sample))
            one, two = runs
            identical(two.out, one.out, describe(sample, "two threads against one"))
            identical(two.rows, one.rows, describe(sample, "two threads against one, gradient"))


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
