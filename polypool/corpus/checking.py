"""Whether a manifest has the form that its readers rely on: what lacks, or has become something else, is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from polypool.corpus.manifest import COUNTS
from polypool.corpus.shards import DTYPES

_WHOLE = "an integer of at least 0"
_POSITIVE = "an integer of at least 1"
_PLACE = "an integer of at least 0, or null"
_TEXT = "a string"
_OBJECT = "an object"
_COUNTS = dict.fromkeys(COUNTS, _WHOLE)
_RECORD = {"shard": _WHOLE, "file": _TEXT, "first_row": _WHOLE, **_COUNTS}
#: What each part must be: in words, or one of so many texts, or an object or a list of such.
_FORM = {
    "kind": _TEXT,
    "settings": _OBJECT,
    "fingerprint": _OBJECT,
    "input": {"files": [{"rows": _WHOLE}], "shard_rows": _POSITIVE},
    "inputs": [_TEXT],
    "vectors": {"dimension": _POSITIVE, "dtype": frozenset(DTYPES), "id": frozenset(("int64", "string"))},
    "compute": {"device": _TEXT, "threads": _POSITIVE},
    "counts": _COUNTS,
    "shards": [{**_RECORD, "bytes": _WHOLE, "sha256": _TEXT, "vectors_at": _PLACE}],
}


def flaw(manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with a manifest, in words; None where its form is right.

    Example:
        >>> from polypool.corpus.checking import flaw
        >>> flaw({"kind": 5})
        "must have a string as 'kind', and has 5"
        >>> flaw({"kind": "text"})
        "lacks 'settings'"
    """
    return _flaw(manifest, _FORM, "")


def _flaw(content: Any, form: Any, path: str) -> str | None:
    match form:
        case str() if not _is(content, form):
            return _other(path, form, content)
        case frozenset() if not isinstance(content, str) or content not in form:
            return _other(path, f"one of {', '.join(sorted(form))}", content)
        case dict():
            if not isinstance(content, dict):
                return _other(path, _OBJECT, content)
            return _first(
                f"lacks {_at(path, key)!r}"
                if key not in content
                else _flaw(content[key], inner, _at(path, key))
                for key, inner in form.items()
            )
        case list():
            if not isinstance(content, list):
                return _other(path, "a list", content)
            return _first(_flaw(each, form[0], f"{path}[{place}]") for place, each in enumerate(content))
    return None


def _is(content: Any, wanted: str) -> bool:
    if wanted == _TEXT:
        return isinstance(content, str)
    if wanted == _OBJECT:
        return isinstance(content, dict)
    if wanted == _PLACE and content is None:
        return True
    least = 1 if wanted == _POSITIVE else 0
    return isinstance(content, int) and not isinstance(content, bool) and content >= least


def _first(found: Iterable[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _other(path: str, wanted: str, content: object) -> str:
    shown = repr(content)
    return f"must have {wanted} as {path!r}, and has {shown if len(shown) < 64 else f'{shown[:60]}...'}"
