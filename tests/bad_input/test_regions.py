"""Windows and bins that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

import polypool as pp
from tests.bad_input.cases import (
    Case,
    check,
    named,
    pixels,
    signal,
    volume,
)


def window(*arguments: Any, **more: Any) -> Callable[[], Any]:
    return lambda: pp.Grid(pixels).windows(*arguments, **more)


def binned(output_size: Any, x: Tensor = pixels) -> Callable[[], Any]:
    return lambda: pp.Grid(x).bins(output_size)


@named(
    [
        Case("kernel-float", window(2.0), TypeError, ("kernel must be an int", "found float")),
        Case("kernel-bool", window(True), TypeError, ("kernel must be an int", "found bool")),
        Case("kernel-text", window("2"), TypeError, ("kernel must be an int", "found str")),
        Case("kernel-floats", window((2, 2.0)), TypeError, ("kernel must be an int", "found float")),
        Case("kernel-zero", window(0), ValueError, ("kernel must be >= 1", "found 0")),
        Case(
            "kernel-three",
            window((2, 2, 2)),
            ValueError,
            ("kernel must be one int or 2, one per spatial dimension", "found 3"),
        ),
        Case(
            "kernel-large",
            window(5),
            ValueError,
            (
                "kernel must fit the grid with its padding, 4 places in spatial dimension 0",
                "found 5",
                "bins(1)",
            ),
        ),
        Case(
            "kernel-wide",
            window((2, 6)),
            ValueError,
            (
                "kernel must fit the grid with its padding, 5 places in spatial dimension 1",
                "found 6",
                "bins(1)",
            ),
        ),
        Case(
            "kernel-padded",
            window((7, 2), padding=1),
            ValueError,
            ("kernel must fit the grid with its padding, 6 places in spatial dimension 0", "found 7"),
        ),
        Case(
            "kernel-empty",
            lambda: pp.Grid(pixels[:, :, :0]).windows(2),
            ValueError,
            ("kernel must fit", "0 places", "found 2"),
        ),
        Case("stride-zero", window(2, 0), ValueError, ("stride must be >= 1", "found 0")),
        Case("stride-float", window(2, 1.0), TypeError, ("stride must be an int", "found float")),
        Case("stride-three", window(2, (1, 1, 1)), ValueError, ("stride must be one int or 2", "found 3")),
        Case("padding-negative", window(2, padding=-1), ValueError, ("padding must be >= 0", "found -1")),
        Case(
            "padding-large",
            window(3, padding=2),
            ValueError,
            ("padding must be at most half of the kernel, 3 // 2", "found 2"),
        ),
        Case(
            "padding-half",
            window((4, 2), padding=(2, 2)),
            ValueError,
            ("padding must be at most half of the kernel, 2 // 2", "found 2"),
        ),
        Case("padding-one", window(2, padding=(1,)), ValueError, ("padding must be one int or 2", "found 1")),
        Case("bins-zero", binned(0), ValueError, ("output_size must be >= 1", "found 0")),
        Case("bins-negative", binned((1, -1)), ValueError, ("output_size must be >= 1", "found -1")),
        Case("bins-float", binned(2.0), TypeError, ("output_size must be an int", "found float")),
        Case("bins-none", binned((None, 2)), TypeError, ("output_size must be an int", "found NoneType")),
        Case("bins-three", binned((1, 1, 1)), ValueError, ("output_size must be one int or 2", "found 3")),
        Case("bins-1d", binned((1, 1), signal), ValueError, ("output_size must be one int or 1", "found 2")),
        Case("bins-3d", binned((1, 1), volume), ValueError, ("output_size must be one int or 3", "found 2")),
    ]
)
def test_windows_and_bins(case: Case) -> None:
    check(case)
