"""The table of README.md says what the property cards say."""

from pathlib import Path

import polypool as pp

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- cards -->\n", "<!-- end of cards -->"


def card_table() -> str:
    """One row per operator of the package."""
    rows = [
        "| pooling | what it computes | degree | merges | weights | takes weights | learned |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in pp.names():
        card = pp.card(name)
        if not pp.build(name, channels=4).__module__.startswith("polypool.poolings."):
            continue  # what another test has registered
        summary = card.summary.split(": `")[0].split(". ")[0].rstrip(".").replace("|", "\\|")
        degree = "" if card.homogeneity is None else str(card.homogeneity)
        facts = (card.decomposable, card.has_weights, card.takes_weights, card.learnable)
        rows.append(f"| `{name}` | {summary} | {degree} | {' | '.join('yes' if f else '' for f in facts)} |")
    return "\n".join(rows) + "\n"


def test_the_table_is_current() -> None:
    written = README.read_text(encoding="utf-8").split(START)[1].split(END)[0]
    assert written == card_table(), f"put this between the marks:\n{card_table()}"
