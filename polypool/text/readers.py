"""What programs that load sentence encoders make of a folder's pooling, each by its own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from polypool.text.config import BOOLEANS, MODES, PoolingConfig, declared_by_booleans, declared_by_name

#: The only type of module that servers and converters look for.
OLD_TYPE = "sentence_transformers.models.Pooling"
#: The older releases of sentence-transformers refuse a key that is none of these.
_OLD_KEYS = {"word_embedding_dimension", "pooling_mode", *BOOLEANS, "include_prompt"}


@dataclass(frozen=True)
class Facts:
    """What readers look at.

    Args:
        kind: The type of the pooling module in `modules.json`; None where there is no such module.
        data: What its config holds; None where the file is missing.
        fixed: What `1_Pooling/config.json` holds, which some read whatever `modules.json` says.
        has_modules: Whether there is a `modules.json`.
        model_type: That of the encoder, such as `"bert"`.
        causal: Whether the encoder was saved as a causal language model.
    """

    kind: str | None
    data: Mapping[str, Any] | None
    fixed: Mapping[str, Any] | None
    has_modules: bool
    model_type: str = ""
    causal: bool = False


@dataclass(frozen=True)
class Reading:
    """What one reader does.

    Args:
        reader: Which.
        modes: How it pools; None where it refuses.
        why: Why it refuses, or on what the answer rests where that is not plain.
    """

    reader: str
    modes: tuple[str, ...] | None
    why: str = ""

    @property
    def does(self) -> str:
        """In words."""
        return "refuses" if self.modes is None else "+".join(self.modes) or "its own choice"


class RefusedError(Exception):
    """The reader stops with an error."""


def readings(facts: Facts) -> tuple[Reading, ...]:
    """What each reader does with the folder."""
    found = []
    for name, rule in READERS.items():
        try:
            modes, why = rule(facts)
        except RefusedError as error:
            found.append(Reading(name, None, str(error)))
        else:
            found.append(Reading(name, modes, why))
    return tuple(found)


_Answer = tuple[tuple[str, ...], str]


def polypool(facts: Facts) -> _Answer:
    """`TextEncoder`: both forms, and an error where they differ."""
    if facts.data is None:
        raise RefusedError("no pooling is declared; it asks for pool=")
    try:
        config = PoolingConfig.parse(facts.data)
    except (TypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    return config.modes or tuple(config.pool.split("+")), ""


def newer(facts: Facts) -> _Answer:
    """sentence-transformers 6.2: `pooling_mode` wins silently, then the booleans, then the mean."""
    data = _of_sentence_transformers(facts)
    if data is None:
        return (("lasttoken",) if facts.causal else ("mean",)), "what it takes where no modules.json is"
    known = {"embedding_dimension", *_OLD_KEYS}
    _refuse_unknown(data, known)
    named = _named(data)
    if named is not None:
        unknown = [mode for mode in named if mode not in MODES]
        if unknown:
            raise RefusedError(f"unknown mode {unknown[0]!r}")
        return named, "" if declared_by_booleans(data) in (None, named) else "it drops the booleans"
    return declared_by_booleans(data) or ("mean",), "" if declared_by_booleans(
        data
    ) else "nothing is declared"


def older(facts: Facts) -> _Answer:
    """sentence-transformers 2.5 to 5.0: the booleans, of which `mean` is on where the file is silent; one name."""
    data = _of_sentence_transformers(facts)
    if data is None:
        return ("mean",), "what it takes where no modules.json is"
    if not (facts.kind or "").startswith("sentence_transformers.models."):
        raise RefusedError(f"it has no class {facts.kind}")
    _refuse_unknown(data, _OLD_KEYS)
    if "word_embedding_dimension" not in data:
        raise RefusedError("no word_embedding_dimension")
    if data.get("pooling_mode") is not None:
        named = data["pooling_mode"]
        if not isinstance(named, str) or named.lower() not in MODES:
            raise RefusedError(f"pooling_mode must be one name; found {named!r}")
        return (named.lower(),), ""
    silent = {"pooling_mode_mean_tokens": True}
    modes = declared_by_booleans(silent | dict(data)) or ()
    if not modes:
        raise RefusedError("no mode is on")
    return modes, "" if "pooling_mode_mean_tokens" in data else "mean is on where the file does not say"


def inference_server(facts: Facts) -> _Answer:
    """text-embeddings-inference: the booleans of `1_Pooling/config.json`; the first of cls, mean, lasttoken."""
    data = facts.fixed
    if data is None:
        if "bert" in facts.model_type.lower():
            return ("cls",), "what it takes for a BERT where 1_Pooling/config.json is missing"
        raise RefusedError("no 1_Pooling/config.json; it asks for --pooling")
    for key in ("pooling_mode_cls_token", "pooling_mode_mean_tokens"):
        if not isinstance(data.get(key), bool):
            raise RefusedError(f"no boolean {key}; it asks for --pooling")
    return _first_on(data, ("cls", "mean", "lasttoken"))


def vllm(facts: Facts) -> _Answer:
    """vLLM: the last boolean that is true, cut at its first underscore, if it is CLS, MEAN or LAST."""
    if facts.kind != OLD_TYPE or facts.data is None:
        return (), f"it looks for a module of type {OLD_TYPE}"
    modes: tuple[str, ...] = ()
    for key, value in facts.data.items():
        name = key.replace("pooling_mode_", "").split("_", 1)[0]
        if value is True and name in ("cls", "mean", "lasttoken"):
            modes = (name,)
    return modes, "" if modes else "no boolean that it knows is true"


def converter(facts: Facts) -> _Answer:
    """llama.cpp's convert_hf_to_gguf: the first of mean, cls, lasttoken that is true."""
    if facts.kind != OLD_TYPE:
        return (), f"it looks for a module of type {OLD_TYPE}"
    if facts.data is None:
        raise RefusedError("the config of the pooling is missing")
    for mode in ("mean", "cls", "lasttoken"):
        key = next(key for key, name in BOOLEANS.items() if name == mode)
        if key not in facts.data:
            raise RefusedError(f"no {key}")
        if facts.data[key]:
            return (mode,), ""
    raise RefusedError("none of mean, cls and lasttoken is on")


READERS: dict[str, Callable[[Facts], _Answer]] = {
    "polypool": polypool,
    "sentence-transformers 6.2": newer,
    "sentence-transformers 2.5 to 5.0": older,
    "text-embeddings-inference": inference_server,
    "vLLM": vllm,
    "llama.cpp, converter to GGUF": converter,
}


def _of_sentence_transformers(facts: Facts) -> Mapping[str, Any] | None:
    """The config of the pooling; None where sentence-transformers makes its own modules."""
    if not facts.has_modules:
        return None
    if facts.kind is None:
        raise RefusedError("modules.json has no pooling: token states come out")
    if not facts.kind.startswith("sentence_transformers."):
        raise RefusedError(f"{facts.kind} is not its own; it needs trust_remote_code=True")
    if facts.data is None:
        raise RefusedError("the config of the pooling is missing")
    return facts.data


def _refuse_unknown(data: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise RefusedError(f"unexpected key {', '.join(unknown)}")


def _named(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    try:
        return declared_by_name(data)
    except TypeError as error:
        raise RefusedError(str(error)) from error


def _first_on(data: Mapping[str, Any], order: tuple[str, ...]) -> _Answer:
    on = declared_by_booleans(data) or ()
    first = next((mode for mode in order if mode in on), None)
    if first is None:
        raise RefusedError(f"none of {', '.join(order)} is on")
    return (first,), "" if len(on) == 1 else f"the first of {', '.join(order)} that is on"
