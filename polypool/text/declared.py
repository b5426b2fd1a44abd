"""Everything in a model folder that says how its token states become a vector."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from polypool.text.config import BOOLEANS, FILE, ModelFolderError, declared_by_booleans, declared_by_name
from polypool.text.gguf import pooling_type
from polypool.text.model_card import ModelCard, read_card
from polypool.text.readers import Facts

_HIDDEN = ("hidden_size", "d_model", "dim", "n_embd")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
#: Encoders whose position table starts after the padding token.
_OFFSET = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
#: Encoders that know distances between tokens and no places: a longer text is no error.
_RELATIVE = ("t5", "mt5", "umt5", "longt5", "deberta-v2")


@dataclass(frozen=True)
class Declared:
    """One thing that one place says.

    Args:
        topic: What about: `"pooling"`, `"dimension"`, `"length"`, `"normalized"`, `"modules"`, `"padding side"`.
        says: What.
        where: The file, and the part of it.
    """

    topic: str
    says: Any
    where: str


@dataclass
class Contents:
    """What a folder says.

    Args:
        folder: Which.
        declared: All of it, in the order in which it was read.
        faults: What cannot be, in words, whatever other places say.
        modules: The chain of modules, each its type and folder.
        pooling: What the config of the pooling holds; None where there is none.
        pooling_folder: Where the pooling lies, relative to the folder; None where there is none.
        hidden: The channels of the encoder.
        positions: How many tokens it can place.
        card: What the README says.
    """

    folder: Path
    declared: list[Declared] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    modules: list[tuple[str, str]] = field(default_factory=list)
    pooling: dict[str, Any] | None = None
    pooling_folder: str | None = None
    hidden: int | None = None
    positions: int | None = None
    encoder: dict[str, Any] = field(default_factory=dict)
    card: ModelCard = field(default_factory=ModelCard)

    @classmethod
    def of(cls, folder: Path) -> Contents:
        """Reads everything; what cannot be read is a fault and no error."""
        contents = cls(folder)
        contents._read_encoder()
        contents._read_modules()
        contents._read_pooling()
        contents._read_dense()
        contents._read_lengths()
        contents._read_tokenizer()
        contents._read_card()
        contents._read_gguf()
        return contents

    def says(self, topic: str) -> list[Declared]:
        """What is declared about one topic."""
        return [each for each in self.declared if each.topic == topic]

    @property
    def facts(self) -> Facts:
        """What readers look at."""
        kinds = [kind for kind, _ in self.modules if _is_pooling(kind)]
        return Facts(
            kind=kinds[0] if kinds else None,
            data=self.pooling,
            fixed=self.json(f"1_Pooling/{FILE}"),
            has_modules=(self.folder / "modules.json").is_file(),
            model_type=str(self.encoder.get("model_type", "")),
            causal=any("ForCausalLM" in str(name) for name in self.encoder.get("architectures") or ()),
        )

    def json(self, name: str, kind: type = dict) -> Any:
        """What a JSON file holds; None where it is missing, and a fault where it holds something else."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._fault(f"{name} is no JSON: {error}")
            return None
        if not isinstance(found, kind):
            self._fault(f"{name} must hold a JSON {kind.__name__}; found a {type(found).__name__}")
            return None
        return found

    def _add(self, topic: str, says: Any, where: str) -> None:
        self.declared.append(Declared(topic, says, where))

    def _fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults.append(text)

    def _read_encoder(self) -> None:
        self.encoder = self.json(FILE) or {}
        text = self.encoder.get("text_config") if isinstance(self.encoder.get("text_config"), dict) else {}
        sizes = {**(text or {}), **self.encoder}
        self.hidden = _first_int(sizes, _HIDDEN)
        if self.hidden is not None:
            self._add("dimension", self.hidden, FILE)
        kind = self.encoder.get("model_type")
        self.positions = None if kind in _RELATIVE else _first_int(sizes, _POSITIONS)
        if self.positions is not None and kind in _OFFSET:
            padding = self.encoder.get("pad_token_id")
            self.positions -= (padding if isinstance(padding, int) else 1) + 1

    def _read_modules(self) -> None:
        listed = self.json("modules.json", list)
        if listed is None:
            return
        for module in listed:
            if not isinstance(module, dict) or not isinstance(module.get("type"), str):
                self._fault(f"modules.json must list modules with a type; found {module!r}")
                continue
            path = str(module.get("path", ""))
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                self._fault(f"modules.json leaves the folder: {path}")
                continue
            self.modules.append((module["type"], path))
            config_free = _name(module["type"]) in ("Normalize", "Transformer")
            if path and not config_free and not (self.folder / path).is_dir():
                self._fault(f"modules.json names {path}, which is missing")
        names = [_name(kind) for kind, _ in self.modules]
        self._add("modules", names, "modules.json")
        self._add("normalized", "Normalize" in names, "modules.json")
        self._check_order(names)

    def _check_order(self, names: list[str]) -> None:
        poolings = [place for place, name in enumerate(names) if _is_pooling(name)]
        if len(poolings) > 1:
            self._fault(f"modules.json has {len(poolings)} poolings; one is enough")
        if poolings and poolings[0] == 0:
            self._fault("modules.json has the pooling first; it needs the states of an encoder")
        if poolings and "Normalize" in names[: poolings[0]]:
            self._fault(
                "modules.json normalizes before the pooling: tokens have length 1, the sentence has not"
            )

    def _read_pooling(self) -> None:
        found = [path for kind, path in self.modules if _is_pooling(kind)]
        if found:
            self.pooling_folder = found[0]
            if found[0] != "1_Pooling" and (self.folder / "1_Pooling" / FILE).is_file():
                self._fault(f"the pooling is {found[0]}, but servers read 1_Pooling, which is there too")
        elif (self.folder / "1_Pooling" / FILE).is_file():
            self.pooling_folder = "1_Pooling"
        if self.pooling_folder is None:
            return
        where = f"{self.pooling_folder}/{FILE}"
        self.pooling = self.json(where)
        if self.pooling is None:
            self._fault(f"{where} is missing")
            return
        self._add_pooling(self.pooling, where)

    def _add_pooling(self, data: dict[str, Any], where: str) -> None:
        booleans = declared_by_booleans(data)
        if booleans is not None:
            self._add("pooling", booleans, f"{where}, booleans")
            if not booleans and data.get("pooling_mode") is None:
                self._fault(f"{where}: all booleans are false")
        wrong = [key for key in BOOLEANS if key in data and not isinstance(data[key], bool)]
        if wrong:
            self._fault(f"{where}: {wrong[0]} must be true or false; found {data[wrong[0]]!r}")
        try:
            named = declared_by_name(data)
        except TypeError as error:
            self._fault(f"{where}: {error}")
            named = None
        if named is not None:
            self._add("pooling", named, f"{where}, pooling_mode")
        if isinstance(data.get("pool"), str):
            self._add("pooling", tuple(data["pool"].split("+")), f"{where}, pool")
        for key in ("word_embedding_dimension", "embedding_dimension"):
            if key in data:
                self._add("dimension", data[key], f"{where}, {key}")

    def _read_dense(self) -> None:
        for kind, path in self.modules:
            if _name(kind) != "Dense":
                continue
            config = self.json(f"{path}/{FILE}")
            if config is None:
                self._fault(f"{path}/{FILE} is missing")
                continue
            sizes = (config.get("in_features"), config.get("out_features"))
            self._add("dense", sizes, f"{path}/{FILE}")
            shape = _shape(self.folder / path / "model.safetensors", "linear.weight")
            if shape is not None and shape != (sizes[1], sizes[0]):
                self._fault(
                    f"{path}/{FILE} says {sizes[0]} to {sizes[1]}, its weights are {shape[1]} to {shape[0]}"
                )

    def _read_lengths(self) -> None:
        for path in sorted(self.folder.glob("sentence_*_config.json")):
            config = self.json(path.name) or {}
            if isinstance(config.get("max_seq_length"), int):
                self._add("length", config["max_seq_length"], path.name)
        named = self.json("config_sentence_transformers.json") or {}
        prompts, default = named.get("prompts") or {}, named.get("default_prompt_name")
        if prompts:
            self._add("prompts", sorted(prompts), "config_sentence_transformers.json")
        if default is not None and default not in prompts:
            self._fault(
                f"config_sentence_transformers.json: default_prompt_name {default!r} is none of its prompts"
            )

    def _read_tokenizer(self) -> None:
        config = self.json("tokenizer_config.json") or {}
        if "padding_side" in config:
            self._add("padding side", config["padding_side"], "tokenizer_config.json")
        length = config.get("model_max_length")
        if isinstance(length, int) and length < 1 << 30:  # a huge number stands for no limit
            self._add("tokenizer length", length, "tokenizer_config.json")
        truncation = (self.json("tokenizer.json") or {}).get("truncation") or {}
        if isinstance(truncation.get("max_length"), int):
            self._add("tokenizer length", truncation["max_length"], "tokenizer.json")

    def _read_card(self) -> None:
        path = self.folder / "README.md"
        if not path.is_file():
            return
        self.card = card = read_card(path.read_text(encoding="utf-8", errors="replace"))
        if card.printed is not None:
            self._add("pooling", card.printed, "README.md, printed modules")
            self._add("normalized", bool(card.normalized), "README.md, printed modules")
        if card.copied:
            self._add("copied pooling", card.copied, "README.md, code to copy")
            self._add("copied normalize", card.normalizing, "README.md, code to copy")
        if card.dimension is not None:
            self._add("dimension", card.dimension, "README.md, printed modules")
        if card.length is not None:
            self._add("length", card.length, "README.md, Maximum Sequence Length")
        if card.output is not None:
            self._add("output", card.output, "README.md, Output Dimensionality")

    def _read_gguf(self) -> None:
        for path in sorted(self.folder.glob("*.gguf")):
            try:
                kind = pooling_type(path)
            except ModelFolderError as error:
                self._fault(str(error))
                continue
            if kind is not None:
                self._add("pooling", (kind,), f"{path.name}, pooling_type")


def _is_pooling(kind: str) -> bool:
    return _name(kind) in ("Pooling", "SentencePooling")


def _name(kind: str) -> str:
    return kind.rpartition(".")[2]


def _first_int(data: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((data[key] for key in keys if isinstance(data.get(key), int)), None)


def _shape(path: Path, tensor: str) -> tuple[int, ...] | None:
    """The shape of a tensor from the header of a safetensors file; None where there is none to read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 1 << 24)))
        return tuple(header[tensor]["shape"])
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
