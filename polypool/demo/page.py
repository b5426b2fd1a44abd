"""The sections as one HTML page. Whatever is text is escaped here, and only here."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from polypool.demo import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polypool.demo.report import ColoredText, Picture, Section, Table

CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def page(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """The whole document; the pictures are expected beside it as `<name>.png`."""
    links = "".join(
        f'<a href="#{escape(part.key)}">{escape(part.title.split(":")[0])}</a>' for part in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{escape(title)}</h1>\n<p>{escape(lead)}</p>\n<nav>{links}</nav></div></header>\n"
        f"<main>\n{''.join(map(_section, sections))}</main>\n"
        f"<footer><p>{escape(footer)}</p></footer>\n</body>\n</html>\n"
    )


def _section(part: Section) -> str:
    blocks = [
        f"<h2>{escape(part.title)}</h2>\n<p>{escape(part.intro)}</p>\n",
        f"<pre>{escape(part.code)}</pre>\n" if part.code else "",
        *map(_table, part.tables[:1]),
        *(f'<p class="fact">{escape(fact)}</p>\n' for fact in part.facts),
        *map(_colored, part.texts),
        *map(_picture, part.pictures),
        *map(_table, part.tables[1:]),
    ]
    return f'<section id="{escape(part.key)}">\n{"".join(blocks)}</section>\n'


def _table(table: Table) -> str:
    numeric = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]
    css = [' class="number"' if number else "" for number in numeric]
    head = "".join(f"<th{c}>{escape(name)}</th>" for c, name in zip(css, table.columns, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{c}>{escape(cell)}</td>" for c, cell in zip(css, row, strict=True)) + "</tr>\n"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>\n' if table.note else ""
    return (
        f"<h3>{escape(table.title)}</h3>\n"
        f'<div class="wide"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n{note}'
    )


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").lstrip("+-")[:1].isdigit()


def _colored(text: ColoredText) -> str:
    words = [
        f'<span class="word" style="background: rgb{shade}">{escape(word)}<small>{value:+.3f}</small></span>\n'
        for word, value, shade in zip(text.words, text.values, style.shades(text.values), strict=True)
    ]
    note = f'<p class="note">{escape(text.note)}</p>\n' if text.note else ""
    return f'<h3>{escape(text.title)}</h3>\n<p class="words">\n{"".join(words)}</p>\n{note}'


def _picture(picture: Picture) -> str:
    name = escape(picture.name)
    return (
        f"<figure>\n<h3>{escape(picture.title)}</h3>\n"
        f'<a href="{name}.png"><img src="{name}.png" alt="{escape(picture.explanation)}"></a>\n'
        f"<figcaption>{escape(picture.explanation)}</figcaption>\n</figure>\n"
    )
