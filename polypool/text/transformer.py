"""The transformer and the tokenizer of a folder, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polypool._errors import first_line
from polypool.text.config import ModelFolderError, read_json
from polypool.text.files import require_weights
from polypool.text.tokenizing import Frame

logger = logging.getLogger("polypool.text")

#: Where sentence-transformers keeps its settings of a transformer; the older releases named the file by architecture.
SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: Settings that change nothing about how `encode` reads a text.
_NO_MATTER = ("unpad_inputs", "query_length", "document_length")
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


#: What encoders call their table of places.
_TABLES = ("position_embeddings", "position_embedding", "embed_positions", "wpe")
#: The files that a vocabulary may be in.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model",
                 "sentencepiece.bpe.model")  # fmt: skip
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation", "activation_function")


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
    model = _model(transformers, folder, dtype)
    tokenizer = _tokenizer(transformers, folder)
    if settings.get("do_lower_case"):
        _lower(tokenizer)
    limit = _default_limit(model, tokenizer)
    if "max_seq_length" in settings:
        limit = _lowered(settings["max_seq_length"], model, settings["path"])
    if limit is not None:
        try:
            require_limit(limit, tokenizer)
        except ValueError as error:
            raise ModelFolderError(f"{settings.get('path', folder)}: {error}") from error
    return model.eval(), tokenizer, limit


def positions(model: nn.Module) -> int | None:
    """How many tokens a model has places for; None where it has no table of places, and reads any number."""
    found = []
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _TABLES and isinstance(module, nn.Embedding):
            # RoBERTa counts from behind the number of the padding token, BART and OPT from a number of their own.
            padding = module.padding_idx
            found.append(
                module.num_embeddings - int(getattr(module, "offset", 0) if padding is None else padding + 1)
            )
    # Some tables have places more than are used, as the config knows.
    config = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return min([*found, config] if found and isinstance(config, int) and config > 0 else found, default=None)


def require_limit(limit: int, tokenizer: Any) -> None:
    """Refuses a limit that holds no token of any text.

    Raises:
        ValueError: It does not.
    """
    frame = Frame.of(tokenizer)
    special = frame.lead + frame.tail
    if limit <= special:
        raise ValueError(
            f"max_tokens must be >= {special + 1}, {special} special tokens and one of the text; found {limit}."
        )


def _model(transformers: Any, folder: Path, dtype: torch.dtype) -> Any:
    safe = {"local_files_only": True, "trust_remote_code": False}
    config = None
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **safe)
        # Only the encoder of T5 and its like: their decoder is no part of a sentence encoder's weights.
        encoders = transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
        auto = transformers.AutoModelForTextEncoding if type(config) in encoders else transformers.AutoModel
        model, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            # What does not fit is refused below, in one line that names it.
            ignore_mismatched_sizes=True,
            **safe,
        )
    except Exception as error:  # whatever transformers makes of a broken folder
        _require_activation(config, folder)
        raise ModelFolderError(f"transformers cannot load the model in {folder}: {_said(error)}.") from error
    _require_whole(model, info, folder)
    return model


def _require_whole(model: Any, info: Any, folder: Path) -> None:
    """Refuses weights that are not those of the model, as far as token states depend on them."""
    unlike = sorted(info["mismatched_keys"])
    if unlike:
        name, found, wanted = unlike[0]
        raise ModelFolderError(
            f"the weights in {folder} do not fit its config.json: of {len(unlike)} tensors that differ, {name} is "
            f"{tuple(found)} and would have to be {tuple(wanted)}."
        )
    # The states before the pooler are all that is used, so that a model saved without its pooler is whole.
    lost = sorted(name for name in info["missing_keys"] if "pooler" not in name.split("."))
    if lost:
        raise ModelFolderError(
            f"the weights in {folder} lack {len(lost)} tensors of the model, {lost[0]} first: they would be random."
        )
    # What a task adds stands beside the parts of the model: what is inside them and not taken is a part left out.
    parts = {name for name, _ in model.named_children()} - {"pooler"}
    left = sorted(
        name
        for name in info["unexpected_keys"]
        if name.removeprefix(f"{model.base_model_prefix}.").partition(".")[0] in parts
    )
    if left:
        raise ModelFolderError(
            f"{folder} has {len(left)} tensors in its weights that the model of its config.json has no place for, "
            f"{left[0]} first: it would be half a model."
        )


def _require_activation(config: Any, folder: Path) -> None:
    """Names an activation that there is not; transformers says no more than its name."""
    from transformers.activations import ACT2FN

    for key in _ACTIVATIONS:
        found = getattr(config, key, None)
        if isinstance(found, str) and found not in ACT2FN:
            raise ModelFolderError(
                f"{key} in {folder / 'config.json'} must be an activation that transformers knows, such as 'gelu'; "
                f"found {found!r}."
            )


def _tokenizer(transformers: Any, folder: Path) -> Any:
    try:
        found = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever transformers makes of it
        _require_vocabulary(folder)
        raise ModelFolderError(
            f"transformers cannot load a tokenizer from {folder}: {_said(error)}."
        ) from error
    # Without a vocabulary transformers makes up an empty one. Some tokenizers have none: they read bytes.
    files = {*found.vocab_files_names.values(), "tokenizer.json"} if found.vocab_files_names else set()
    if files and not any((folder / name).is_file() for name in files):
        raise _no_tokenizer(folder, sorted(files))
    return found


def _require_vocabulary(folder: Path) -> None:
    """Says what is wrong with the files of a tokenizer, where that is plain."""
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise _no_tokenizer(folder, _VOCABULARIES)
    path = folder / "tokenizer.json"
    if path.is_file():
        from tokenizers import Tokenizer

        read_json(path)
        try:
            Tokenizer.from_file(str(path))
        except Exception as error:  # its errors have no class of their own
            raise ModelFolderError(f"{path} is no tokenizer: {first_line(error)}.") from error


def _no_tokenizer(folder: Path, names: Sequence[str]) -> ModelFolderError:
    return ModelFolderError(f"{folder} must hold a tokenizer, one of {', '.join(names)}; there is none.")


def _said(error: BaseException) -> str:
    """What an error says in one line: of several lines the first, and what it announces with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = lines[:1] + (lines[1:2] if lines and lines[0].endswith(":") else [])
    said = " ".join(kept).rstrip(".")
    # A KeyError says no more than the key.
    return f"{type(error).__name__} {said}" if isinstance(error, KeyError) or not said else said


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
    return {"do_lower_case": lower} | ({} if limit is None else {"max_seq_length": limit, "path": path})


def _default_limit(model: Any, tokenizer: Any) -> int | None:
    """The most tokens that the tokenizer, the config and the table of places allow; None where nothing says."""
    limits = [
        tokenizer.model_max_length,
        getattr(model.config, "max_position_embeddings", None),
        positions(model),
    ]
    limit = min(limit for limit in limits if isinstance(limit, int | float) and limit > 0)
    # What tokenizers say that were never told.
    return None if limit > 10**9 else int(limit)


def _lowered(limit: int, model: Any, path: Path) -> int:
    """The limit of a settings file, as far as the model goes. sentence-transformers fails on the first longer text."""
    most = positions(model)
    if most is not None and limit > most:
        logger.warning(
            "max_seq_length in %s is %d, and the model has places for %d tokens; %d are read.",
            path,
            limit,
            most,
            most,
        )
        return most
    return limit


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
