"""`polypool sites`: where a model pools, and what may go wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polypool.vision.surgery import Site


def command(
    model: Annotated[
        str,
        typer.Option(
            metavar="MODULE:CALLABLE",
            help="Makes the model, or (model, sample); the sample is what it takes.",
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Run the model on random images of this size.", show_default="one that fits"
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only these: global, down, squeeze, stride or tokens.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """List where a model pools: poolings, strides, gates, functions, with shapes and risks."""
    import json
    from dataclasses import asdict

    from polypool.cli._explained import load_model
    from polypool.vision.surgery import sites
    from polypool.vision.surgery.site import KINDS
    from polypool.vision.surgery.trace import MISFITS

    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind must be one of {', '.join(KINDS)}; found {kind!r}.")
    network, sample = load_model(model, None)
    if size is not None:
        sample = _images(network, size)
    elif callable(sample):  # the preprocessing that polypool explain takes
        sample = None
    try:
        found = sites(network, sample)
    except MISFITS as error:  # the model is the user's
        raise UserError(f"the model does not run on the sample: {type(error).__name__}: {error}") from error
    listed = [site for site in found if kind in (None, site.kind)]
    if as_json:
        typer.echo(json.dumps([asdict(site) for site in listed], indent=2))
    else:
        _print(listed)


def _images(model: nn.Module, size: str) -> Tensor | dict[str, Any]:
    """Two random images for the first convolution."""
    import torch

    from polypool.vision.surgery.trace import CONVOLUTIONS

    sizes = size.lower().split("x")
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    if first is None:
        raise UserError(
            "--size needs a model that begins with a convolution; let the callable give a sample."
        )
    dims = len(first.kernel_size)
    if len(sizes) != dims or not all(one.isdecimal() and int(one) for one in sizes):
        raise UserError(
            f"--size must have {dims} numbers, such as {'x'.join(['224'] * dims)}; found {size!r}."
        )
    image = torch.randn(2, first.in_channels, *map(int, sizes), generator=torch.Generator().manual_seed(0))
    image = image.to(first.weight.device, first.weight.dtype)
    named = getattr(model, "main_input_name", None)
    return {named: image} if isinstance(named, str) and "pixel" in named else image


def _print(found: list[Site]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from polypool.cli._console import console

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name and shapes", overflow="fold")
    for heading in ("kind", "operator", "counts"):
        table.add_column(heading, no_wrap=True)
    table.add_column("risks, and why it cannot be swapped", ratio=1, min_width=30)
    for site in found:
        said = [Text(risk, style="yellow") for risk in site.risks]
        said += [Text(f"cannot be swapped: {site.obstacle}", style="dim")] if site.obstacle else []
        shapes = f"{_shape(site.input)} -> {_shape(site.output)}" if site.input else "did not run"
        table.add_row(
            Text.assemble(f"{site.name}\n", (shapes, "dim")),
            site.kind,
            Text(site.operator),
            _counts(site),
            Text("\n").join(said),
        )
    shown = console()
    number = "1 site" if len(found) == 1 else f"{len(found)} sites"
    shown.print(table)
    shown.print(
        f"{number}. counts: how much the places count, from the least to the most, 1 being the average. "
        "polypool.vision.swap puts another pooling there.",
        style="dim",
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape))


def _counts(site: Site) -> str:
    from math import prod

    if not site.counts:
        return ""
    low, high = prod(min(one) for one in site.counts), prod(max(one) for one in site.counts)
    return "even" if low == high else f"{low:.2g} to {high:.2g}"
