"""The transformer and the tokenizer of a folder, whole or not at all."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polypool.text.config import ModelFolderError, read_json
from polypool.text.files import first_line, require_weights

#: Where sentence-transformers keeps its settings of a transformer; the older releases named the file by architecture.
SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: Settings that change nothing about how `encode` reads a text.
_NO_MATTER = ("unpad_inputs", "query_length", "document_length")
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


def load_transformer(folder: Path, dtype: torch.dtype) -> tuple[Any, Any, int | None]:
    """The model, the tokenizer, and how many tokens a text may have.

    Args:
        folder: Where `config.json`, `model.safetensors` and the tokenizer are.
        dtype: That of the weights.

    Raises:
        ImportError: transformers is not installed.
        ModelFolderError: Something is missing, is a pickle, needs code of its own, or does not fit.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"models need transformers ({first_line(error)}): pip install polypool[text]."
        ) from error

    settings = _settings(folder)
    if (folder / "adapter_config.json").is_file():
        raise ModelFolderError(
            f"{folder} holds an adapter, not a model. Merge it into its model, and save that."
        )
    read_json(folder / "config.json")
    require_weights(folder)
    model, missing = _model(transformers, folder, dtype)
    # The states before the pooler are all that is used, so that a model saved without its pooler is whole.
    lost = sorted(name for name in missing if "pooler" not in name.split("."))
    if lost:
        raise ModelFolderError(
            f"the weights in {folder} lack {len(lost)} tensors of the model, {lost[0]} first: they would be random."
        )
    tokenizer = _tokenizer(transformers, folder)
    if settings.get("do_lower_case"):
        _lower(tokenizer)
    limit = settings.get("max_seq_length")
    return model.eval(), tokenizer, _positions(model, tokenizer) if limit is None else limit


def _model(transformers: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, set[str]]:
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **safe)
        # Only the encoder of T5 and its like: their decoder is no part of a sentence encoder's weights.
        encoders = transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
        auto = transformers.AutoModelForTextEncoding if type(config) in encoders else transformers.AutoModel
        model, info = auto.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
    except Exception as error:  # whatever transformers makes of a broken folder
        raise ModelFolderError(
            f"transformers cannot load the model in {folder}: {first_line(error)}."
        ) from error
    return model, set(info["missing_keys"])


def _tokenizer(transformers: Any, folder: Path) -> Any:
    try:
        found = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever transformers makes of it
        raise ModelFolderError(
            f"transformers cannot load a tokenizer from {folder}: {first_line(error)}."
        ) from error
    # Without a vocabulary transformers makes up an empty one. Some tokenizers have none: they read bytes.
    files = {*found.vocab_files_names.values(), "tokenizer.json"} if found.vocab_files_names else set()
    if files and not any((folder / name).is_file() for name in files):
        raise ModelFolderError(
            f"{folder} must hold a tokenizer, one of {', '.join(sorted(files))}; there is none."
        )
    return found


def _settings(folder: Path) -> dict[str, Any]:
    """The settings, refused where they ask for what is not done here: another result is worse than none."""
    path = next((folder / name for name in SETTINGS if (folder / name).is_file()), None)
    if path is None:
        return {}
    found = {key: value for key, value in read_json(path).items() if key not in _NO_MATTER}
    task = found.pop("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ModelFolderError(f"transformer_task in {path} must be 'feature-extraction'; found {task!r}.")
    form = found.pop("modality_config", {"text": _TEXT})
    output = found.pop("module_output_name", "token_embeddings")
    if form != {"text": _TEXT} or output != "token_embeddings":
        raise ModelFolderError(
            f"modality_config in {path} must be plain text to last_hidden_state, as token_embeddings; found {form!r}, "
            f"as {output}."
        )
    limit = found.pop("max_seq_length", None)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ModelFolderError(f"max_seq_length in {path} must be an integer of at least 1; found {limit!r}.")
    lower = found.pop("do_lower_case", False)
    unknown = sorted(key for key, value in found.items() if value not in (None, {}))
    if unknown:
        raise ModelFolderError(f"{path} has settings that are not known here: {', '.join(unknown)}.")
    return {"max_seq_length": limit, "do_lower_case": lower}


def _positions(model: Any, tokenizer: Any) -> int | None:
    """The most tokens that the tokenizer and the model's table of positions allow; None where neither says."""
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions)
    for name, module in model.named_modules():
        # RoBERTa and its like count from behind the number of the padding token.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - skipped)
    limit = min(limits)
    # What tokenizers say that were never told.
    return None if limit > 10**9 else int(limit)


def _lower(tokenizer: Any) -> None:
    """Makes a tokenizer lower-case its texts, unless it does already."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        tokenizer.do_lower_case = True
        return
    from tokenizers import normalizers

    if '"lowercase":true' in backend.to_str().replace(" ", "") or '{"type":"Lowercase"}' in backend.to_str():
        return
    own = backend.normalizer
    lower = normalizers.Lowercase()
    backend.normalizer = lower if own is None else normalizers.Sequence([lower, own])


def inputs(model: nn.Module) -> tuple[str, ...]:
    """What a model takes of the features of a batch."""
    known = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    named = signature(model.forward).parameters
    # A wrapper around a model names none.
    return tuple(key for key in known if key in named or "input_ids" not in named)
