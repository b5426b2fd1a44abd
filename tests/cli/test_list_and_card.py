"""`polypool list` and `polypool card`."""

import json

import pytest

import polypool as pp
from polypool.cli import main

Capture = pytest.CaptureFixture[str]


def test_list_names_everything(capsys: Capture) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(f" {name} " in out for name in pp.names())


def test_list_as_json_is_the_cards(capsys: Capture) -> None:
    assert main(["list", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in cards] == list(pp.names())
    assert all(card["has_weights"] == pp.card(card["name"]).has_weights for card in cards)


@pytest.mark.parametrize("layouts", [("grid",), ("grid", "nodes"), ("clusters", "tokens", "packed")])
def test_list_keeps_what_can_pool_all_the_layouts(layouts: tuple[str, ...], capsys: Capture) -> None:
    words = [word for layout in layouts for word in ("--layout", layout)]
    assert main(["list", "--json", *words]) == 0
    listed = {card["name"] for card in json.loads(capsys.readouterr().out)}
    assert listed == set.intersection(*(set(pp.names(layout)) for layout in layouts))


def test_card_shows_every_field(capsys: Capture) -> None:
    assert main(["card", "gem"]) == 0
    out = capsys.readouterr().out
    assert "Radenovic" in out
    assert "p=3.0" in out
    assert "permutation invariant  yes" in out


@pytest.mark.parametrize("name", ["mean", "mean+max+std", "mean+attention"])
def test_card_as_json(name: str, capsys: Capture) -> None:
    assert main(["card", name, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == name
    assert card["learnable"] == ("attention" in name)


def test_card_of_an_alias_has_its_settings(capsys: Capture) -> None:
    assert main(["card", "rms", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["name"], card["settings"]["p"]) == ("power", 2.0)
