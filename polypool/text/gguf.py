"""The pooling that a GGUF file declares: a few numbers of its header, without its tensors."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from polypool.text.config import ModelFolderError

#: `enum llama_pooling_type` of llama.cpp; -1 and 4 (rerankers) pool no sentence.
POOLING_TYPES = {0: "none", 1: "mean", 2: "cls", 3: "lasttoken", 4: "rank"}
#: The types of values by their number, as `struct` writes them; 8 is a string, 9 an array.
_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
#: Longer than any key or name is; a larger number means that this is no such file.
_LONGEST = 1 << 26


def pooling_type(path: Path) -> str | None:
    """The name of `{architecture}.pooling_type`; None where the file declares none.

    Raises:
        ModelFolderError: This is no GGUF file of version 2 or 3, or it is cut short.
    """
    try:
        with path.open("rb") as file:
            found = _pooling_number(file)
    except (struct.error, ValueError, OSError) as error:
        raise ModelFolderError(f"{path} is no GGUF file that can be read: {error}.") from error
    return None if found is None else POOLING_TYPES.get(found, f"type {found}")


def _pooling_number(file: BinaryIO) -> int | None:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version, _, count = _read(file, "IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} is unknown")
    for _ in range(count):
        key = _string(file)
        (kind,) = _read(file, "I")
        value = _value(file, kind)
        if key.endswith(".pooling_type"):
            return int(value)
    return None


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, length = _read(file, "IQ")
        if inner in _PLAIN:
            file.seek(length * struct.calcsize(f"<{_PLAIN[inner]}"), 1)
        else:
            for _ in range(length):
                _value(file, inner)
        return None
    if kind not in _PLAIN:
        raise ValueError(f"value type {kind} is unknown")
    return _read(file, _PLAIN[kind])[0]


def _string(file: BinaryIO) -> str:
    (length,) = _read(file, "Q")
    if length > _LONGEST:
        raise ValueError(f"a string of {length} bytes")
    return _exactly(file, length).decode("utf-8", errors="replace")


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", _exactly(file, struct.calcsize(f"<{form}")))


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise ValueError("it is cut short")
    return found
