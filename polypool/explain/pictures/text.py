"""Tokens coloured by what they add: as a web page and as a picture."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from polypool.explain.pictures import style
from polypool.explain.tokens import TokenContributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/2.1 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
.tokens span {{ padding: .15em .3em; border-radius: .25em; white-space: pre-wrap; }}
.note {{ color: #52606d; font-size: .85em; line-height: 1.5; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def tokens_html(
    found: TokenContributions,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str = "What each token adds",
) -> str:
    """A page with the tokens of each text, coloured: red adds to the score, blue takes away.

    Everything that comes from the text is escaped. Pointing at a token shows its number.

    Args:
        found: What `token_contributions` gives.
        path: Where to write the page, in UTF-8.
        title: Its heading.

    Returns:
        The page.
    """
    end = style.largest(found.values)
    body = "\n".join(_row(found, row, end) for row in range(found.values.shape[0]))
    page = _PAGE.format(title=escape(title), body=body)
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def _row(found: TokenContributions, row: int, end: float) -> str:
    spans = "\n".join(
        f'<span style="background: rgb{style.rgb(value, end)}" title="{value:+.4f}">{escape(name)}</span>'
        for name, value in zip(names(found, row), found.of(row).tolist(), strict=True)
    )
    return (
        f'<p class="tokens">{spans}</p>\n<p class="note">{escape(_note(found, row))} '
        f"The colours end at {end:.3g} on both sides of 0.</p>"
    )


def _note(found: TokenContributions, row: int) -> str:
    what = "score" if found.other is None else f"similarity to {found.other[row]!r}"
    return f"{what} {found.score[row]:+.4f}, error {found.error[row]:+.0e}."


def names(found: TokenContributions, row: int) -> list[str]:
    """The tokens of a text as they are shown; their places where they have no names."""
    if not found.tokens:
        return [str(place) for place in found.mask[row].nonzero()[:, 0].tolist()]
    # The marks with which byte-pair and unigram vocabularies write a space.
    return [token.replace("Ġ", " ").replace("▁", " ") for token in found.tokens[row]]


def draw_tokens(
    found: TokenContributions, path: str | os.PathLike[str] | None = None, *, width: float = 9.0
) -> Figure:
    """Draws the tokens of each text as coloured boxes with their numbers.

    Args:
        found: What `token_contributions` gives.
        path: Where to write the picture; its ending says the format.
        width: In inches; longer texts are broken into lines.

    Returns:
        The figure.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
    """
    end, room = style.largest(found.values), 9.5 * width
    lines: list[tuple[str, list[tuple[str, float]]]] = []
    for row in range(found.values.shape[0]):
        heading, left = _note(found, row), room
        line: list[tuple[str, float]] = []
        for one in zip(names(found, row), found.of(row).tolist(), strict=True):
            if line and _box(one[0]) > left:
                lines.append((heading, line))
                heading, line, left = "", [], room
            line.append(one)
            left -= _box(one[0])
        lines.append((heading, line))
    drawing = style.figure(width, 0.95 * len(lines) + 0.2)
    for axes, (heading, line) in zip(drawing.subplots(len(lines), squeeze=False)[:, 0], lines, strict=True):
        left = 0.0
        for token, value in line:
            box = _box(token)
            axes.barh(
                0,
                box - 0.4,
                left=left,
                height=1,
                align="edge",
                color=[c / 255 for c in style.rgb(value, end)],
            )
            middle = left + box / 2 - 0.2
            axes.text(middle, 0.5, style.plain(token), ha="center", va="center", fontsize=10, color=style.INK)
            axes.text(middle, -0.15, f"{value:+.3f}", ha="center", va="top", fontsize=7, color=style.MUTED)
            left += box
        axes.set_xlim(0, room)
        axes.set_ylim(-0.7, 1.05)
        axes.set_title(style.plain(heading), loc="left", fontsize=9, color=style.INK)
        style.bare(axes)
    return style.save(drawing, path)


def _box(token: str) -> float:
    return max(5.5, len(token) + 2.0)
