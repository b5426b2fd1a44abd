"""`1_Pooling/config.json`: both forms in which sentence-transformers writes it, and one file that holds both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polypool.registry import lookup, settings_of

#: The modes of sentence-transformers and their names here, in the order in which the booleans concatenate them.
MODES = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "position_weighted",
    "lasttoken": "last",
}
#: The older form of their config: one boolean for each mode.
BOOLEANS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
FILE = "config.json"
_DIMENSIONS = ("word_embedding_dimension", "embedding_dimension")
_KNOWN = {*_DIMENSIONS, *BOOLEANS, "pooling_mode", "pool", "settings", "include_prompt"}


class ModelFolderError(ValueError):
    """What is wrong with a model folder, in one line."""


@dataclass(frozen=True)
class PoolingConfig:
    """What the pooling of a model folder is.

    Args:
        dimension: The channels of the token embeddings.
        pool: A pooling by name, such as `"mean"` or `"mean+max"`. The names of sentence-transformers are taken too, and
            become ours.
        settings: Those of the operator; a combination has none.
        include_prompt: Whether the tokens of a prompt are pooled too.

    Raises:
        TypeError: An argument has a wrong type, or the operator has no such setting.
        ValueError: The pooling is unknown, or the dimension is not positive.

    Example:
        >>> from polypool.text import PoolingConfig
        >>> PoolingConfig(384, "cls+mean").pool
        'first+mean'
        >>> PoolingConfig(384, "cls+mean").modes
        ('cls', 'mean')
    """

    dimension: int
    pool: str = "mean"
    settings: dict[str, Any] = field(default_factory=dict)
    include_prompt: bool = True

    def __post_init__(self) -> None:
        _require_size(self.dimension)
        if not isinstance(self.include_prompt, bool):
            raise TypeError(f"include_prompt must be a bool; found {self.include_prompt!r}.")
        if not isinstance(self.settings, dict):
            raise TypeError(f"settings must be a dict; found {type(self.settings).__name__}.")
        object.__setattr__(self, "pool", canonical(self.pool))
        object.__setattr__(self, "settings", dict(self.settings))
        _require_settings(self.pool, self.settings)

    @property
    def modes(self) -> tuple[str, ...] | None:
        """The names that sentence-transformers has for this pooling; None where it has none."""
        names = {ours: theirs for theirs, ours in MODES.items()}
        parts = self.pool.split("+")
        return tuple(names[part] for part in parts) if all(part in names for part in parts) else None

    @classmethod
    def read(
        cls, folder: Path, dimension: int | None = None, defaults: Mapping[str, Any] | None = None
    ) -> PoolingConfig:
        """Reads `config.json` of a pooling folder, in either form of sentence-transformers or in ours.

        Args:
            folder: Such as `model / "1_Pooling"`.
            dimension: What the token embeddings really have; another number in the file is an error.
            defaults: What to take for what the file does not say, such as `include_prompt`.

        Raises:
            ModelFolderError: The file is missing or no JSON, declares no mode, several that contradict each other or
                an unknown one, holds a key that nobody knows, or a dimension that does not fit.
        """
        file = Path(folder) / FILE
        try:
            config = cls.parse(_completed(read_json(file), defaults or {}))
        except (TypeError, ValueError) as error:
            if isinstance(error, ModelFolderError):
                raise
            raise ModelFolderError(f"{file}: {error}") from error
        if dimension is not None and config.dimension != dimension:
            raise ModelFolderError(
                f"{file}: the dimension must be that of the token embeddings, {dimension}; found {config.dimension}."
            )
        return config

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> PoolingConfig:
        """The same from what the file holds.

        Raises:
            TypeError: A value has a wrong type.
            ValueError: As for `read`.
        """
        unknown = sorted(key for key in data if not _is_known(key, data[key]))
        if unknown:
            raise ValueError(
                f"unknown key {', '.join(map(repr, unknown))}; a pooling config has {', '.join(sorted(_KNOWN))}."
            )
        if "pool" in data:
            if "pooling_mode" in data or declared_by_booleans(data):
                raise ValueError("'pool' and 'pooling_mode' exclude each other; keep one of them.")
            pool, settings = data["pool"], data.get("settings", {})
        else:
            if "settings" in data:
                raise ValueError(
                    "'settings' goes with 'pool'; found it without. Name the pooling under 'pool'."
                )
            pool, settings = "+".join(_modes(data)), {}
        return cls(_dimension(data), pool, settings, data.get("include_prompt", True))

    def write(self, folder: Path) -> None:
        """Writes `config.json` into an existing folder.

        A mode of sentence-transformers, or a combination, is written in both of its forms at once, which every version
        and every server that knows either can read. Where the order of a combination is not the one that the booleans
        stand for, only the newer form is written: the older would mean another order. Anything else is written in our
        form, which sentence-transformers refuses.

        Raises:
            TypeError: A setting is nothing that JSON can hold.
        """
        text = json.dumps(self.as_json(), indent=2) + "\n"
        (Path(folder) / FILE).write_text(text, encoding="utf-8")

    def as_json(self) -> dict[str, Any]:
        """What `write` writes."""
        # The older of the two names for the dimension: newer versions read it silently, older ones know no other.
        data: dict[str, Any] = {_DIMENSIONS[0]: self.dimension}
        modes = self.modes
        if modes is None:
            return data | {
                "pool": self.pool,
                "settings": self.settings,
                "include_prompt": self.include_prompt,
            }
        if list(modes) == [mode for mode in MODES if mode in modes]:
            data |= {key: mode in modes for key, mode in BOOLEANS.items()}
        data["pooling_mode"] = modes[0] if len(modes) == 1 else list(modes)
        return data | {"include_prompt": self.include_prompt}


def canonical(pool: object) -> str:
    """A pooling by the names of the registry: aliases resolved, unless they bring settings of their own.

    Raises:
        TypeError: It is not a str.
        ValueError: A name is unknown.
    """
    if not isinstance(pool, str):
        raise TypeError(f"the pooling must be a str such as 'mean' or 'mean+max'; found {pool!r}.")
    return "+".join(_own_name(part.strip()) for part in pool.split("+"))


def declared_by_booleans(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The modes that the older form declares, in its order; None where it is not used at all."""
    if not any(key in data for key in BOOLEANS):
        return None
    return tuple(mode for key, mode in BOOLEANS.items() if data.get(key))


def declared_by_name(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The modes that the newer form declares; None where it is not used.

    Raises:
        TypeError: It is neither a name nor a list of names.
    """
    if data.get("pooling_mode") is None:
        return None
    found = data["pooling_mode"]
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(one, str) for one in listed):
        raise TypeError(f"'pooling_mode' must be a name or a list of names; found {found!r}.")
    return tuple(one.lower() for one in listed)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelFolderError: The file is missing, cannot be read, or holds something else.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFolderError(f"{file} is missing.") from error
    except OSError as error:
        raise ModelFolderError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise ModelFolderError(f"{file} is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelFolderError(f"{file} must hold a JSON object; found a {type(data).__name__}.")
    return data


def _completed(data: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, and defaults for the rest. A mode that it declares, in any form, is no gap."""
    declared = "pool" in data or "pooling_mode" in data or any(key in data for key in BOOLEANS)
    return {key: value for key, value in defaults.items() if not (declared and key == "pooling_mode")} | data


def _modes(data: Mapping[str, Any]) -> tuple[str, ...]:
    booleans, named = declared_by_booleans(data), declared_by_name(data)
    unknown = [mode for mode in named or () if mode not in MODES]
    if unknown:
        raise ValueError(f"unknown pooling mode {unknown[0]!r}; the modes are {', '.join(MODES)}.")
    if named is not None:
        if booleans is not None and set(booleans) != set(named):
            raise ValueError(
                f"'pooling_mode' says {'+'.join(named)} and the booleans say {'+'.join(booleans) or 'nothing'}; "
                "make them agree."
            )
        return named
    if booleans == ():
        raise ValueError(f"all booleans are false, so no mode is declared; set one of {', '.join(BOOLEANS)}.")
    return booleans or ("mean",)  # what sentence-transformers takes where nothing is said


def _dimension(data: Mapping[str, Any]) -> int:
    found = {data[key] for key in _DIMENSIONS if key in data and isinstance(data[key], int)}
    given = [data[key] for key in _DIMENSIONS if key in data]
    if not given:
        raise ValueError(f"no dimension; set {_DIMENSIONS[0]!r}.")
    if len(found) > 1:
        raise ValueError(f"{' and '.join(map(repr, _DIMENSIONS))} differ: {given[0]} and {given[1]}.")
    size: int = given[0]
    return size


def _is_known(key: str, value: object) -> bool:
    """Whether a key is understood, or says nothing: a comment, or a mode of some later version that is switched off."""
    return key in _KNOWN or key.startswith("_") or (key.startswith("pooling_mode_") and value is False)


def _own_name(name: str) -> str:
    if name == "concat":
        raise ValueError(
            "the pooling 'concat' has no name of its own here; join names with +, as in 'mean+max'."
        )
    cls, preset = lookup(name)
    return name if preset else cls.card.name


def _require_size(dimension: object) -> None:
    if isinstance(dimension, bool) or not isinstance(dimension, int):
        raise TypeError(f"the dimension must be an int; found {dimension!r}.")
    if dimension < 1:
        raise ValueError(f"the dimension must be 1 or more; found {dimension}.")


def _require_settings(pool: str, settings: Mapping[str, Any]) -> None:
    accepted = () if "+" in pool else tuple(key for key in settings_of(lookup(pool)[0]) if key != "channels")
    unknown = sorted(set(settings) - set(accepted))
    if unknown:
        raise TypeError(
            f"{pool} has no setting {', '.join(map(repr, unknown))}; its settings are: {', '.join(accepted) or 'none'}."
        )
