"""`polypool explain`: what each place of an image, or each token of a text, adds to a decision."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from polypool.cli._errors import UserError
from polypool.cli._explained import load_model, load_pixels, pool_of, setting

group = typer.Typer(help="Split a decision over the places of an image or the tokens of a text.")

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the picture goes.")]
Raw = Annotated[Path | None, typer.Option(metavar="FILE.npz", help="Write the numbers too.")]

PAGES = (".html", ".htm")


@group.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@group.command("image")
def image(
    file: Annotated[Path, typer.Argument(help="The image.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="MODULE:CALLABLE",
            help="Makes the model, or (model, preprocess); preprocess turns a PIL image into what the model takes.",
        ),
    ],
    out: Out,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE.safetensors", help="Loaded into the model.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="The layer to explain.", show_default="what is pooled")
    ] = None,
    target: Annotated[int | None, typer.Option(help="The class.", show_default="the predicted one")] = None,
    method: Annotated[str, typer.Option(help="exact, frozen or gradient.")] = "exact",
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize the image.", show_default="as it is")
    ] = None,
    raw: Raw = None,
) -> None:
    """Draw what each place of an image adds to a logit of a model."""
    _check_out([out, raw])
    from polypool.explain import class_activation_map, draw_image

    network, preprocess = load_model(model, weights)
    pixels = load_pixels(file, network, preprocess, size)
    try:
        found = class_activation_map(network, pixels, target, layer, method=method)  # type: ignore[arg-type]
        _make_folders([out, raw])
        draw_image(found, pixels, out)
    except (ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    _save(raw, vars(found))
    typer.echo(
        f"class {int(found.target[0])}: logit {float(found.logit[0]):.4f} = bias {float(found.bias[0]):.4f} + map "
        f"{float(found.values.sum()):.4f} + outside {float(found.outside[0]):.4f}, error {float(found.error[0]):.1e}; "
        f"layer {found.layer}, method {found.method}"
    )
    typer.echo(str(out))


@group.command("text")
def text(
    words: Annotated[str, typer.Argument(metavar="TEXT", help="The text to explain.")],
    out: Out,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A folder with a sentence model.", show_default="the pinned package's"
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="The text that it is compared with.", show_default="itself")
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="What pools the tokens.", show_default="as the folder says, or mean")
    ] = None,
    raw: Raw = None,
) -> None:
    """Colour the tokens of a text by what they add to its similarity with another text."""
    _check_out([out, raw], PAGES)
    from polypool.demo import encoder
    from polypool.explain import draw_tokens, token_contributions, tokens_html

    try:
        loaded = encoder.load(encoder.find_model(model))
    except encoder.NoModelError as error:
        raise UserError(str(error)) from error
    try:
        found = token_contributions(
            loaded.model,
            tokenizer=loaded.tokenizer,
            text=words,
            to=to,
            pool=pool or pool_of(loaded.folder),
            max_length=setting(loaded.folder / "sentence_bert_config.json", "max_seq_length"),
        )
        _make_folders([out, raw])
        (tokens_html if out.suffix.lower() in PAGES else draw_tokens)(found, out)
    except (ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    _save(
        raw, {"values": found.values, "score": found.score, "error": found.error, "tokens": found.tokens[0]}
    )
    typer.echo(f"similarity {float(found.score[0]):+.4f}, error {float(found.error[0]):.1e}")
    for token, value in zip(found.tokens[0], found.of(0).tolist(), strict=True):
        typer.echo(f"  {value:+.4f}  {token}")
    typer.echo(str(out))


def _check_out(paths: Iterable[Path | None], also: tuple[str, ...] = ()) -> None:
    """Find out now, and not after the work, that a file has an ending that nothing can be written for."""
    out, raw = paths
    pictures = (".png", ".svg", ".pdf", ".jpg", *also)
    if out is not None and out.suffix.lower() not in pictures:
        raise UserError(f"--out must end in {', '.join(pictures)}; found {out}.")
    if raw is not None and raw.suffix.lower() != ".npz":
        raise UserError(f"--raw must end in .npz; found {raw}.")


def _make_folders(paths: Iterable[Path | None]) -> None:
    for path in paths:
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError as error:
                raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def _save(path: Path | None, numbers: dict[str, Any]) -> None:
    if path is not None:
        import numpy as np

        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in numbers.items()}
        np.savez(path, **arrays)
