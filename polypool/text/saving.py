"""Writing a model folder that sentence-transformers reads too."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from polypool.text.files import write_json
from polypool.text.folder import MODULES, SETTINGS
from polypool.text.modules import AfterPooling

if TYPE_CHECKING:
    from polypool.text.encoder import TextEncoder

# The names of the older releases, which the newer ones know as well.
THEIRS = "sentence_transformers.models"
OURS = "polypool.text.SentencePooling"


def save_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Writes all files beside the folder first, so that what fails leaves no half of a model behind.

    Args:
        encoder: What to save.
        folder: A new folder, or one whose files of the same names are replaced.

    Raises:
        ValueError: `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder or a new name; found the file {folder}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as partial:
        _write(encoder, Path(partial))
        _move(Path(partial), folder)


def _write(encoder: TextEncoder, folder: Path) -> None:
    encoder.model.save_pretrained(folder)  # type: ignore[operator]
    limit = encoder.max_tokens
    kept = encoder.tokenizer.model_max_length
    # The newer releases read the limit from the tokenizer, the older ones from a file of their own.
    encoder.tokenizer.model_max_length = kept if limit is None else limit
    encoder.tokenizer.save_pretrained(folder)
    encoder.tokenizer.model_max_length = kept
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})

    pooling = folder / "1_Pooling"
    pooling.mkdir()
    encoder.pooling.save(str(pooling))
    known = encoder.pooling.config.modes is not None
    modules = [("", f"{THEIRS}.Transformer"), (pooling.name, f"{THEIRS}.Pooling" if known else OURS)]
    for place, module in enumerate(encoder.after, start=2):
        if not isinstance(module, AfterPooling):
            raise TypeError(
                f"what comes after pooling must be Dense, LayerNorm or Normalize; found {module!r}."
            )
        module.save(folder / f"{place}_{type(module).__name__}")
        modules.append((f"{place}_{type(module).__name__}", module.theirs))
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
