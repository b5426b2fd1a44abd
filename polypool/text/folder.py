"""What a model folder declares: `modules.json`, checked against a fixed list, and the settings beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from polypool._errors import first_line
from polypool.text.config import ModelFolderError, read_json
from polypool.text.dense import Dense
from polypool.text.files import read_list
from polypool.text.modules import AfterPooling, Dropout, LayerNorm, Normalize

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"

#: What mixes the layers of the transformer, between it and the pooling.
MIX = "WeightedLayerPooling"
#: What may come after the pooling, by kind.
AFTER: dict[str, type[AfterPooling]] = {
    "Dense": Dense,
    "LayerNorm": LayerNorm,
    "Normalize": Normalize,
    "Dropout": Dropout,
}
#: Where sentence-transformers has kept each kind: the older releases under one name, the newer ones in modules of their
#: own. A type outside this list is refused; no type is ever imported.
_HOMES = {
    "Transformer": "base.modules.transformer",
    MIX: "sentence_transformer.modules.weighted_layer_pooling",
    "Pooling": "sentence_transformer.modules.pooling",
    "Dense": "base.modules.dense",
    "LayerNorm": "sentence_transformer.modules.layer_norm",
    "Normalize": "base.modules.normalize",
    "Dropout": "sentence_transformer.modules.dropout",
}
TYPES = {
    f"sentence_transformers.{place}.{kind}": kind
    for kind, home in _HOMES.items()
    for place in ("models", f"models.{kind}", home, "base.modules", "sentence_transformer.modules")
} | {
    "polypool.text.LayerMix": MIX,
    "polypool.text.layers.LayerMix": MIX,
    "polypool.text.SentencePooling": "Pooling",
    "polypool.text.sentence_pooling.SentencePooling": "Pooling",
}


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder declares.

    Attributes:
        root: The folder.
        transformer: Where the transformer and the tokenizer are.
        mix: Where the mixture of its layers is; None where the last layer is pooled.
        pooling: Where the pooling is; None in a plain transformers folder, which declares none.
        after: What comes after the pooling: kind and folder of each.
        prompts: Prompts by name.
        default_prompt: The name of the prompt that is used when none is asked for.
        similarity: How the vectors are meant to be compared, where the folder says so.
        truncate: How many numbers of each vector are kept; None keeps all.
    """

    root: Path
    transformer: Path
    mix: Path | None = None
    pooling: Path | None = None
    after: tuple[tuple[str, Path], ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str | None = None
    truncate: int | None = None

    @classmethod
    def read(cls, root: Path) -> ModelFolder:
        """Reads what a folder declares; no weights.

        Raises:
            ModelFolderError: A file is broken, a type is not on the list, a path leaves the folder, or the modules are
                not a transformer, a pooling and what may follow it.
        """
        if not (root / MODULES).is_file():
            _require_model_type(root)
            return cls(root, root)
        listed = [_entry(root, place, entry) for place, entry in enumerate(read_list(root / MODULES))]
        kinds = [kind for kind, _ in listed]
        # Where the pooling would have to be.
        place = 2 if MIX in kinds[1:2] else 1
        if kinds[:1] + kinds[place : place + 1] != ["Transformer", "Pooling"] or not set(
            kinds[place + 1 :]
        ) <= set(AFTER):
            raise ModelFolderError(
                f"{root / MODULES} must list a Transformer, a {MIX} or none, a Pooling, and after them only "
                f"{', '.join(AFTER)}; found {', '.join(kinds) or 'nothing'}."
            )
        paths = [path for _, path in listed]
        _require_model_type(paths[0])
        return cls(
            root=root,
            transformer=paths[0],
            mix=paths[1] if place == 2 else None,
            pooling=paths[place],
            after=tuple(listed[place + 1 :]),
            **_settings(root / SETTINGS),
        )


def find_folder(folder_or_name: str | Path) -> Path:
    """The folder of a model: the one given, or that of a name in the local Hugging Face cache. Nothing is downloaded.

    Raises:
        ModelFolderError: There is neither.
        TypeError: It is no string and no path.
    """
    if not isinstance(folder_or_name, str | Path):
        raise TypeError(f"folder_or_name must be a str or a Path; found {type(folder_or_name).__name__}.")
    name = str(folder_or_name)
    if not name.strip():
        raise ModelFolderError("folder_or_name must name a folder or a model; found nothing.")
    folder = Path(folder_or_name).expanduser()
    if folder.is_dir():
        return folder
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f"models need transformers ({first_line(error)}): pip install polypool[text]."
        ) from error
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except HFValidationError:  # no name that a model could have
        raise ModelFolderError(f"{name!r} is no folder.") from None
    except LocalEntryNotFoundError:
        raise ModelFolderError(
            f"{name!r} is no folder, and no model of that name is in the local Hugging Face cache. Nothing is "
            f"downloaded here; get it first, for instance with `hf download {name}`."
        ) from None


def _require_model_type(folder: Path) -> None:
    """Refuses the folder of another module, whose config is no model's. A config that is missing is not looked for."""
    path = folder / "config.json"
    if not path.is_file() or read_json(path).get("model_type") is not None:
        return
    # Where a parent is a model, this is one of its modules.
    parent = next((each for each in folder.absolute().parents[:2] if (each / MODULES).is_file()), None)
    whole = "" if parent is None else f"; it is a part of {parent}"
    raise ModelFolderError(f"{path} has no model_type, so that it is no model of transformers{whole}.")


def _entry(root: Path, place: int, entry: Any) -> tuple[str, Path]:
    where = f"module {place} in {root / MODULES}"
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "type")):
        raise ModelFolderError(f"{where} must have a path and a type; found {entry!r}.")
    kind = TYPES.get(entry["type"])
    if kind is None:
        raise ModelFolderError(
            f"{where} has a type that is not known here: {entry['type']!r}. There are sentence-transformers' "
            f"{', '.join(_HOMES)}, and polypool.text's SentencePooling and LayerMix; code that a folder names is not "
            "run."
        )
    return kind, inside(root, entry["path"], where)


def inside(root: Path, path: str, where: str) -> Path:
    """A folder within the root.

    Raises:
        ModelFolderError: The path is absolute, goes up, or is a link that leaves the root.
    """
    # A Windows path knows both kinds of slash, drives, and network shares.
    parts = PureWindowsPath(path)
    found = root / path if "\0" not in path else root
    if parts.anchor or ".." in parts.parts or "\0" in path or not _within(root, found):
        raise ModelFolderError(f"{where} has a path that leaves the folder: {path!r}.")
    return found


def _within(root: Path, path: Path) -> bool:
    # Only folders: the files of the Hugging Face cache are links to where it keeps them.
    return path.resolve().is_relative_to(root.resolve())


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    data = read_json(path)
    kind = data.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelFolderError(f"model_type in {path} must be 'SentenceTransformer'; found {kind!r}.")
    prompts = data.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ModelFolderError(f"prompts in {path} must map names to texts; found {prompts!r}.")
    default = data.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise ModelFolderError(
            f"default_prompt_name in {path} must be one of its prompts ({', '.join(prompts) or 'there are none'}); "
            f"found {default!r}."
        )
    truncate = data.get("truncate_dim")
    if truncate is not None and (isinstance(truncate, bool) or not isinstance(truncate, int) or truncate < 1):
        raise ModelFolderError(
            f"truncate_dim in {path} must be an integer of at least 1; found {truncate!r}."
        )
    return {
        "prompts": {name: text or "" for name, text in prompts.items()},
        "default_prompt": default,
        "similarity": data.get("similarity_fn_name"),
        "truncate": truncate,
    }
