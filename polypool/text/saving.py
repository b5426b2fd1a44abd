"""Writing a model folder that sentence-transformers reads too, and nothing of an older model beside it."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polypool.text.config import ModelFolderError
from polypool.text.files import read_list, write_json
from polypool.text.folder import AFTER, MIX, MODULES, SETTINGS, inside
from polypool.text.layers import LayerMix
from polypool.text.modules import AfterPooling
from polypool.text.sentence_pooling import SentencePooling

if TYPE_CHECKING:
    from polypool.text.encoder import TextEncoder

# The names of the older releases, which the newer ones know as well.
THEIRS = "sentence_transformers.models"
OURS = "polypool.text"

logger = logging.getLogger("polypool.text")

#: The files of a model by their names, those that `save` writes and those that others do. No file of another name is
#: ever removed.
_PARTS = re.compile(
    r"config\.json|generation_config\.json|adapter_config\.json|sentence_[a-z-]+_config\.json"
    r"|config_sentence_transformers\.json|modules\.json"
    r"|(adapter_)?(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?"
    r"|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)"
    r"|merges\.txt|spiece\.model|tokenizer\.model|sentencepiece\.bpe\.model|chat_template\.(jinja|json)"
)
#: What may lie in any folder, and is nothing that a model is loaded from.
_BYSTANDERS = re.compile(r"\..*|README(\..*)?|LICENSE(\..*)?", re.IGNORECASE)


def save_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Writes all files beside the folder first, so that what fails leaves no half of a model behind.

    Args:
        encoder: What to save.
        folder: A new folder, one without a model, or one with a `modules.json`, whose model is replaced.

    Raises:
        ValueError: `folder` is a file, or holds parts of a model and no `modules.json`.
        ModelFolderError: Its `modules.json` is broken, or names folders outside.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder or a new name; found the file {folder}.")
    old = _old(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as partial:
        _write(encoder, Path(partial))
        new = {path.relative_to(partial) for path in Path(partial).rglob("*") if path.is_file()}
        # Without it the folder is no model, whatever else is in it by then.
        (folder / MODULES).unlink(missing_ok=True)
        for path in old - {folder / name for name in new}:
            path.unlink(missing_ok=True)
        _move(Path(partial), folder)
    for place in {path.parent for path in old} - {folder}:
        with suppress(OSError):  # what somebody else put there stays, and so does its folder
            place.rmdir()
    tops = {name.parts[0] for name in new}
    left = sorted(path.name for path in folder.iterdir() if path.name not in tops)
    left = [name for name in left if not _BYSTANDERS.fullmatch(name)]
    if left:
        logger.warning(
            "%s also holds %s, which are not of the model that was saved, and stay.", folder, ", ".join(left)
        )


def _old(folder: Path) -> set[Path]:
    """The files of the model that a folder holds: those with the names of such files, where `modules.json` says.

    Raises:
        ValueError: There are such files and no `modules.json`.
        ModelFolderError: `modules.json` is broken, or names folders outside.
    """
    if not (folder / MODULES).is_file():
        found = sorted(path.name for path in _parts(folder))
        if found:
            raise ValueError(
                f"{folder} holds {found[0]} and no {MODULES}, so it is no model that save wrote, and nothing in it is "
                "replaced. Choose a new folder."
            )
        return set()
    places = {folder}
    for place, entry in enumerate(read_list(folder / MODULES)):
        where = f"module {place} in {folder / MODULES}"
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise ModelFolderError(f"{where} must have a path; found {entry!r}.")
        places.add(inside(folder, entry["path"], where))
    return {path for place in places for path in _parts(place)}


def _parts(folder: Path) -> Iterator[Path]:
    """The files in a folder that have the names of a model's."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if _PARTS.fullmatch(path.name) and not path.is_dir())


def _write(encoder: TextEncoder, folder: Path) -> None:
    with _layers_on(encoder):
        encoder.model.save_pretrained(folder)  # type: ignore[operator]
    limit = encoder.max_tokens
    kept = encoder.tokenizer.model_max_length
    # The newer releases read the limit from the tokenizer, the older ones from a file of their own.
    encoder.tokenizer.model_max_length = kept if limit is None else limit
    encoder.tokenizer.save_pretrained(folder)
    encoder.tokenizer.model_max_length = kept
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})

    modules = [("", f"{THEIRS}.Transformer")]
    for module in (encoder.mix, encoder.pooling, *encoder.after):
        if module is not None:
            name, kind = _named(module)
            place = folder / f"{len(modules)}_{name}"
            place.mkdir()
            module.save(str(place))
            modules.append((place.name, kind))
    write_json(
        folder / MODULES,
        [
            {"idx": place, "name": str(place), "path": path, "type": kind}
            for place, (path, kind) in enumerate(modules)
        ],
    )
    settings: dict[str, object] = {
        "model_type": "SentenceTransformer",
        "prompts": encoder.prompts,
        "default_prompt_name": encoder.default_prompt,
        "similarity_fn_name": encoder.similarity,
    }
    if encoder.truncate is not None:
        settings["truncate_dim"] = encoder.truncate
    write_json(folder / SETTINGS, settings)


def _named(module: Any) -> tuple[str, str]:
    """The name of a module's folder, and the type that readers find in `modules.json`."""
    if isinstance(module, LayerMix):
        # Theirs knows a first layer and weights that learn, and nothing else.
        theirs = module.layers is None and module.learn
        return MIX, f"{THEIRS}.{MIX}" if theirs else f"{OURS}.LayerMix"
    if isinstance(module, SentencePooling):
        known = module.config.modes is not None
        return "Pooling", f"{THEIRS}.Pooling" if known else f"{OURS}.SentencePooling"
    if isinstance(module, AfterPooling):
        return type(module).__name__, module.theirs
    raise TypeError(f"what comes after pooling must be {', '.join(AFTER)}; found {module!r}.")


@contextmanager
def _layers_on(encoder: TextEncoder) -> Iterator[None]:
    """Inside, the config says that all layers are handed on, without which sentence-transformers would not mix them."""
    config: Any = encoder.model.config
    before = config.output_hidden_states
    config.output_hidden_states = before or encoder.mix is not None
    try:
        yield
    finally:
        config.output_hidden_states = before


def _move(partial: Path, folder: Path) -> None:
    """Puts everything in its place, `modules.json` last: until then a new folder is no model of ours.

    A file is replaced and never written over: weights may be in use from the old one.
    """
    files = sorted(
        (path for path in partial.rglob("*") if path.is_file()), key=lambda path: path.name == MODULES
    )
    for path in files:
        target = folder / path.relative_to(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
