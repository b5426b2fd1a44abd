"""Where a model folder disagrees with itself about its pooling, and what programs make of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polypool.text.config import MODES, ModelFolderError
from polypool.text.declared import Contents, Declared
from polypool.text.readers import Reading, readings

#: Modules that make token states of several layers.
_MIXES = ("WeightedLayerPooling", "LayerMix")


@dataclass(frozen=True)
class Diagnosis:
    """What `examine` found.

    Args:
        folder: Which.
        declared: Everything that some place in it says about its pooling.
        disagreements: Where two places differ, or what one says cannot be: each is to be mended.
        notes: What is right and may still surprise.
        readings: What programs do with the folder.
    """

    folder: str
    declared: tuple[Declared, ...]
    disagreements: tuple[str, ...]
    notes: tuple[str, ...]
    readings: tuple[Reading, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing disagrees."""
        return not self.disagreements

    def as_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "folder": self.folder,
            "ok": self.ok,
            "declared": [asdict(each) for each in self.declared],
            "disagreements": list(self.disagreements),
            "notes": list(self.notes),
            "readers": [asdict(each) | {"does": each.does} for each in self.readings],
        }


def examine(folder: str | Path) -> Diagnosis:
    """Reads a model folder in every place that says something about its pooling, and compares.

    Nothing is loaded: it reads JSON, the README and the headers of files.

    Args:
        folder: Of a sentence-transformers or a transformers model.

    Raises:
        ModelFolderError: There is no such folder, or no model in it.

    Example:
        >>> import json, pathlib, tempfile
        >>> from polypool.text import examine
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text('{"hidden_size": 384, "model_type": "bert"}')
        >>> examine(folder).readings[0].does
        'refuses'
    """
    path = Path(folder)
    if not path.is_dir():
        raise ModelFolderError(f"{path} is no folder.")
    if not any((path / name).is_file() for name in ("modules.json", "config.json")):
        raise ModelFolderError(f"{path} holds no model: there is neither modules.json nor config.json in it.")
    contents = Contents.of(path)
    found = readings(contents.facts)
    wrong = [
        *contents.faults,
        *_unlike(contents, "pooling"),
        *_unlike(contents, "dimension"),
        *_unlike(contents, "normalized"),
        *_unlike(contents, "length"),
        *_copied(contents),
        *_chain(contents),
        *_too_long(contents),
    ]
    return Diagnosis(str(path), tuple(contents.declared), tuple(wrong), tuple(_notes(contents, found)), found)


def _unlike(contents: Contents, topic: str) -> list[str]:
    """A sentence where the places do not all say the same."""
    found = contents.says(topic)
    if all(each.says == found[0].says for each in found):
        return []
    said = "; ".join(f"{spelled(each.says)} ({each.where})" for each in found)
    return [f"{topic}: {said}"]


def _copied(contents: Contents) -> list[str]:
    """The code of the README pools in another way than the folder."""
    wrong = []
    copied = contents.card.copied
    declared = [each for each in contents.says("pooling") if not each.where.startswith("README")]
    if copied and declared and not set(declared[0].says) <= set(copied):
        wrong.append(
            f"pooling: {spelled(declared[0].says)} ({declared[0].where}); {spelled(copied)} (README.md, code to copy)"
        )
    return wrong


def _chain(contents: Contents) -> list[str]:
    """Dense layers that do not fit what comes before them, and an output that is not what the README says."""
    size = next((each.says for each in contents.says("dimension") if isinstance(each.says, int)), None)
    modes = contents.says("pooling")
    if size is None or not modes:
        return []
    known = all(mode in MODES for mode in modes[0].says)
    width: int | None = size * len(modes[0].says) if known else None
    wrong = []
    for dense in contents.says("dense"):
        before, after = dense.says
        if width is not None and before != width:
            wrong.append(f"dimension: {width} come in, {before} are expected ({dense.where}, in_features)")
        width = after
    output = contents.card.output
    if output is not None and width is not None and output != width:
        wrong.append(f"dimension: {width} come out, {output} are promised (README.md, Output Dimensionality)")
    return wrong


def _too_long(contents: Contents) -> list[str]:
    limit = contents.positions
    return [
        f"length: {each.says} tokens ({each.where}), the encoder has places for {limit} (config.json)"
        for each in contents.says("length")
        if limit is not None and each.says > limit
    ]


def _notes(contents: Contents, found: tuple[Reading, ...]) -> list[str]:
    notes = []
    modes = contents.says("pooling")
    declared = modes[0].says if modes else ()
    side = next((each.says for each in contents.says("padding side")), "right")
    if side == "left" and "cls" in declared:
        notes.append(
            "padding is on the left: code that takes token 0 as cls, without the mask, takes padding"
        )
    if side == "right" and "lasttoken" in declared:
        notes.append(
            "padding is on the right: code that takes token -1 as the last, without the mask, takes padding"
        )
    if not modes:
        notes.append("no place declares a pooling; each reader chooses its own")
    if any(kind.rpartition(".")[2] in _MIXES for kind, _ in contents.modules):
        notes.append(
            "layers are mixed before the pooling, which servers and converters that read only the pooling do not do"
        )
    if contents.pooling is not None and contents.pooling.get("include_prompt") is False:
        notes.append(
            "prompts are left out of the pooling, which servers that read only the booleans do not do"
        )
    length = next((each.says for each in contents.says("length")), None)
    notes += [
        f"{each.where} cuts at {each.says} tokens, max_seq_length is {length}"
        for each in contents.says("tokenizer length")
        if length is not None and each.says < length
    ]
    copies = [each for each in contents.says("copied normalize") if each.says]
    normalizes = [each.says for each in contents.says("normalized")]
    if copies and normalizes and not any(normalizes):
        notes.append("the code to copy in README.md normalizes, modules.json does not")
    weights = ("model.safetensors", "model.safetensors.index.json")
    if not any((contents.folder / name).is_file() for name in weights) and any(
        contents.folder.glob("pytorch_model*.bin")
    ):
        notes.append("the weights are a pickle, which polypool does not open; convert them to safetensors")
    notes += _other_answers(found)
    return notes


def _other_answers(found: tuple[Reading, ...]) -> list[str]:
    """Readers that go on and pool in another way than we do."""
    ours = found[0].modes
    if ours is None:
        return []
    return [
        f"{each.reader} pools with {each.does}{f': {each.why}' if each.why else ''}"
        for each in found[1:]
        if each.modes is not None and each.modes != ours
    ]


def spelled(says: object) -> str:
    """A value as a user writes it."""
    if isinstance(says, tuple | list):
        return ("+" if isinstance(says, tuple) else " > ").join(map(str, says)) or "nothing"
    return {True: "yes", False: "no"}[says] if isinstance(says, bool) else str(says)
