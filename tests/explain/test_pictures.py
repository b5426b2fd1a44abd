"""Pictures: that they are drawn, keep the numbers' sign, and let no text out of its place."""

from __future__ import annotations

import builtins
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import polypool as pp
from polypool.explain import (
    Contributions,
    TokenContributions,
    contributions,
    draw_graph,
    draw_image,
    draw_tokens,
    tokens_html,
)
from polypool.explain.pictures import style
from tests.support import normal

PNG = b"\x89PNG"


def tokens(*words: str) -> TokenContributions:
    values = torch.linspace(-1, 2, len(words))[None]
    mask = torch.ones(1, len(words), dtype=torch.bool)
    return TokenContributions(values, values.sum(1), torch.zeros(1), mask, (words,), ("<i>x</i> $y$",))


def pixels(figure: Any) -> torch.Tensor:
    return torch.as_tensor(figure.axes[0].images[0].get_array())


def test_a_map_on_an_image(tmp_path: Path) -> None:
    found = contributions(
        pp.build("sum"), pp.Grid(torch.tensor([[[[4.0, 0.0], [0.0, -4.0]]]])), torch.ones(1)
    )
    figure = draw_image(found, torch.rand(1, 3, 8, 8), tmp_path / "map.png", smooth=False)
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)
    drawn = pixels(figure)
    assert drawn.shape == (8, 8, 3)
    red, blue = drawn[:4, :4].mean((0, 1)), drawn[4:, 4:].mean((0, 1))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    grey = drawn[:4, 4:]
    assert torch.allclose(grey[..., 0], grey[..., 2])
    low, high = figure.axes[-1].get_ylim()
    assert (low, high) == (-4, 4), "the scale is symmetric about 0"
    assert figure.axes[-1].get_ylabel() == "adds to the logit"


def test_several_maps_and_plain_numbers() -> None:
    figure = draw_image(normal(2, 3, 4), torch.zeros(2, 1, 6, 8), titles=["one", "$two$"])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one", r"\$two\$"]
    draw_image(torch.full((3, 4), torch.nan), torch.ones(1, 6, 8))
    with pytest.raises(
        ValueError, match=r"a map \(B, h, w\) goes with an image \(B, C, H, W\) of as many rows"
    ):
        draw_image(normal(2, 3, 4), torch.zeros(3, 1, 6, 8))


class Collected(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_text_is_escaped(tmp_path: Path) -> None:
    words = ("<script>alert(1)</script>", "a&b", '"quoted"', "Ġspace", "▁space", "é")
    page = tokens_html(tokens(*words), tmp_path / "page.html", title="<h2>")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    read = Collected()
    read.feed(page)
    assert set(read.tags) == {"html", "meta", "title", "style", "h1", "p", "span"}
    assert read.tags.count("span") == len(words)
    text = "".join(read.text)
    for shown in (
        "<script>alert(1)</script>",
        "a&b",
        '"quoted"',
        " space",
        "é",
        "<h2>",
        "similarity to '<i>x</i>",
    ):
        assert shown in text
    assert "Ġ" not in text


def test_tokens_as_a_picture(tmp_path: Path) -> None:
    figure = draw_tokens(tokens(*["word$"] * 40), tmp_path / "text.png")
    assert (tmp_path / "text.png").read_bytes().startswith(PNG)
    assert len(figure.axes) > 1, "long texts are broken into lines"
    nameless = TokenContributions(
        torch.ones(1, 2), torch.ones(1), torch.zeros(1), torch.tensor([[False, True]])
    )
    assert ">1<" in tokens_html(nameless)
    draw_tokens(nameless)


def test_a_graph(tmp_path: Path) -> None:
    nx = import_module("networkx")
    graph = nx.path_graph(["a", "b", "c"])
    found = contributions(pp.build("sum"), pp.Nodes(torch.tensor([[1.0], [-2.0], [0.5]])), torch.ones(1))
    figure = draw_graph(found, graph, tmp_path / "graph.svg")
    assert "<svg" in (tmp_path / "graph.svg").read_text()
    assert [t.get_text() for t in figure.axes[0].texts] == ["+1.00", "-2.00", "+0.50"]
    assert len(figure.axes[0].lines) == 2
    edges = torch.tensor([[0, 1], [1, 2]])
    draw_graph(found, edges, positions=torch.rand(3, 2))
    with pytest.raises(ValueError, match=r"edges must be in \[0, 3\) \(the nodes\); found 7"):
        draw_graph(found, torch.tensor([[0], [7]]))
    with pytest.raises(ValueError, match=r"edges must be integers \(2, E\)"):
        draw_graph(found, torch.ones(3))
    with pytest.raises(ValueError, match=r"positions must have shape \(N, 2\) = \(3, 2\)"):
        draw_graph(found, edges, positions=torch.rand(2, 2))
    with pytest.raises(ValueError, match=r"graph must be in \[0, 1\); found 1"):
        draw_graph(found, edges, graph=1)
    with pytest.raises(ValueError, match=r"found must have one number per node, \(N,\); found \(1, 2\)"):
        draw_graph(Contributions(torch.ones(1, 2), torch.ones(1), torch.ones(1)), edges)


def test_maps_on_axes_of_ones_own(tmp_path: Path) -> None:
    figure = style.figure(4, 4)
    grid = figure.subplots(2, 2)
    maps = torch.tensor([2.0, -1.0]).reshape(2, 1, 1)
    drawn = draw_image(
        maps, torch.ones(2, 1, 3, 3), tmp_path / "map.png", axes=grid[1], titles=["", ""], end=4.0, unit=None
    )
    assert drawn is figure
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)
    assert len(figure.axes) == 4, "no bar without a unit"
    assert [len(axes.images) for axes in figure.axes] == [0, 0, 1, 1]
    half = torch.as_tensor(grid[1, 0].images[0].get_array())
    full = torch.tensor(style.POSITIVE) / 255
    torch.testing.assert_close(half[0, 0], (1 + full) / 2, msg="half of the end is half of the colour")
    draw_image(maps, torch.ones(2, 1, 3, 3), axes=list(grid[0]))
    assert figure.axes[-1].get_ylim() == (-2, 2)
    bar = torch.as_tensor(figure.axes[-1].collections[-1].cmap(1.0))[:3]
    torch.testing.assert_close(bar, full.double(), msg="the bar ends in the colour of the map")
    draw_image(maps[:1], torch.ones(1, 1, 3, 3), axes=style.figure(2, 2).subplots())
    part = figure.add_subfigure(figure.add_gridspec(1, 1)[0])
    assert draw_image(maps[:1], torch.ones(1, 1, 3, 3), axes=part.subplots()) is figure


@pytest.mark.parametrize("end", [0.0, -1.0, torch.inf, torch.nan])
def test_axes_and_ends_that_do_not_fit(end: float) -> None:
    maps, image = torch.ones(2, 1, 1), torch.ones(2, 1, 3, 3)
    figure = style.figure(2, 2)
    with pytest.raises(ValueError, match="axes must be one for each of 2 pictures; found 1"):
        draw_image(maps, image, axes=figure.subplots())
    with pytest.raises(TypeError, match=r"axes must be matplotlib's; found Figure"):
        draw_image(maps, image, axes=figure)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="end must be finite and > 0; found"):
        draw_image(maps, image, end=end)
    with pytest.raises(ValueError, match="end must be finite and > 0; found"):
        draw_graph(
            Contributions(torch.ones(2), torch.ones(1), torch.ones(1)), torch.zeros(2, 0).long(), end=end
        )


def test_graphs_on_axes_of_ones_own() -> None:
    found = Contributions(torch.tensor([2.0, -1.0]), torch.ones(1), torch.zeros(1))
    figure = style.figure(4, 2)
    left, right = figure.subplots(1, 2)
    for axes, unit in ((left, None), (right, "adds")):
        drawn = draw_graph(
            found,
            torch.tensor([[0], [1]]),
            positions=torch.rand(2, 2),
            axes=axes,
            end=4.0,
            unit=unit,
        )
        assert drawn is figure
        colours = torch.as_tensor(axes.collections[0].get_facecolor())[:, :3] * 255
        expected = [style.rgb(0.5, 1.0), style.rgb(-0.25, 1.0)]
        torch.testing.assert_close(colours, torch.tensor(expected).double())
    assert len(figure.axes) == 3, "one bar, for the second"
    assert figure.axes[-1].get_ylim() == (-4, 4)


def luminance(*rgb: int) -> float:
    """How bright a colour is, as the guidelines for accessible pages (WCAG 2) measure it."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours() -> None:
    assert style.rgb(0.0, 1.0) == (255, 255, 255)
    assert style.rgb(5.0, 1.0) == style.rgb(1.0, 1.0)
    assert len(set(style.rgb(torch.nan, 1.0))) == 1
    ink = luminance(*(int(style.INK[i : i + 2], 16) for i in (1, 3, 5)))
    for value in (1.0, -1.0):
        assert (luminance(*style.rgb(value, 1.0)) + 0.05) / (ink + 0.05) >= 4.5, "text can be read on it"
    assert style.largest(torch.tensor([torch.nan, -3.0, torch.inf])) == 3.0
    assert style.largest(torch.zeros(2)) == 1.0


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pictures need matplotlib.*install polypool"):
        draw_tokens(tokens("a"))
