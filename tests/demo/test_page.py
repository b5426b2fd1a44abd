"""The page and the terminal show text as text."""

import io
from html.parser import HTMLParser

import pytest
from rich.console import Console

from polypool.demo import style, terminal
from polypool.demo.page import page
from polypool.demo.report import ColoredText, Picture, Section, Table

EVIL = '<script>alert("1 & 2")</script>'


class Reader(HTMLParser):
    """Collects tags and text, and knows which tags are still open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evil() -> Section:
    return Section(
        key="evil",
        title=EVIL,
        intro=EVIL,
        code=EVIL,
        tables=[Table(EVIL, (EVIL, "n"), [(EVIL, "1,024"), (EVIL, "-")], note=EVIL)] * 2,
        facts=[EVIL],
        texts=[ColoredText(EVIL, [EVIL, "[CLS]"], [0.5, -0.25], note=EVIL)],
        pictures=[Picture("stem", EVIL, EVIL, style.figure(1, 1))],
    )


def test_markup_in_any_text_is_escaped(evil: Section) -> None:
    text = page(EVIL, EVIL, [evil], EVIL)
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert reader.open == []
    # title twice, lead, link, footer; heading, intro, code, fact; 2 x (title, column, 2 cells, note); 3 of the
    # coloured text; title and caption of the picture
    assert reader.text.count(EVIL) == 5 + 4 + 10 + 3 + 2
    assert ("alt", EVIL) in reader.attributes
    assert ("src", "stem.png") in reader.attributes


def test_links_lead_to_sections(evil: Section) -> None:
    text = page("t", "l", [evil, Section("other", "Graphs: what?", "")], "f")
    assert '<a href="#other">Graphs</a>' in text
    assert '<section id="other">' in text


def test_numbers_stand_right_and_words_left(evil: Section) -> None:
    text = page("t", "l", [evil], "f")
    assert '<td class="number">1,024</td>' in text
    assert '<th class="number">n</th>' in text


def test_colours_follow_the_sign() -> None:
    (red, _, blue), (cold_red, _, cold_blue), white = style.shades([0.5, -0.25, 0.0])
    assert red > blue
    assert cold_blue > cold_red
    assert white == (255, 255, 255)


def test_no_contrast_is_no_error() -> None:
    assert style.shades([]) == []
    assert style.shades([0.0, 0.0]) == [(255, 255, 255)] * 2


def test_the_terminal_shows_brackets_as_they_are() -> None:
    screen = io.StringIO()
    section = Section(
        "k",
        "[bold]title",
        "[red]intro",
        tables=[Table("[i]t", ("[b]c",), [("[CLS]",)])],
        facts=["[u]fact"],
        texts=[ColoredText("[x]", ["[SEP]"], [1.0])],
    )
    terminal.show(section, Console(file=screen, width=100))
    shown = screen.getvalue()
    assert all(part in shown for part in ("[bold]title", "[red]intro", "[b]c", "[CLS]", "[u]fact", "[SEP]"))
