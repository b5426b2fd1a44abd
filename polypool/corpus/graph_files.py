"""Graphs on disk: which files there are, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import expand
from polypool.corpus.saved_graphs import INDICATOR, SavedGraphs, TuFolder
from polypool.corpus.stored_graphs import GraphSource
from polypool.corpus.stores import is_url
from polypool.corpus.tagged_graphs import TaggedGraphs, largest_tag

_PT = (".pt", ".pth")


def find_graphs(inputs: Sequence[str], features: str) -> list[GraphSource]:
    """The sources of some files, globs and folders.

    Raises:
        CorpusError: There is no such file, or it cannot hold graphs.
    """
    places: list[str | TuFolder] = []
    for given in inputs:
        folder = Path(given).expanduser()
        if is_url(given) or not folder.is_dir():
            places += expand([given])
        else:
            places += _of_folder(folder.absolute(), features)
    texts = []
    for place in places:
        if isinstance(place, str):
            suffix = PurePosixPath(place).suffix.lower()
            if suffix == ".txt":
                texts.append(place)
            elif suffix not in _PT:
                raise CorpusError(f"{place} must end in .pt, .pth or .txt, or be a folder of a data set.")
    # One width for all files.
    tags = 1 + max((largest_tag(path) for path in texts), default=0)
    found: list[GraphSource] = []
    for place in places:
        if not isinstance(place, str):
            found.append(place)
        elif place in texts:
            found.append(TaggedGraphs(place, tags, features))
        else:
            found.append(SavedGraphs(place, features))
    return found


def _of_folder(folder: Path, features: str) -> list[str | TuFolder]:
    """What a folder holds: PyG's `processed`, a TU data set (maybe in `raw`), or files of `torch.save`."""
    processed = folder / "processed"
    saved = [
        str(path)
        for path in sorted((processed if processed.is_dir() else folder).iterdir())
        if path.suffix in _PT and not path.name.startswith("pre_")
    ]
    if saved:
        return list(saved)
    for place in (folder, folder / "raw"):
        tu = [path.name.removesuffix(INDICATOR) for path in sorted(place.glob(f"*{INDICATOR}"))]
        if tu:
            return [TuFolder(str(place), features, prefix) for prefix in tu]
    raise CorpusError(
        f"{folder} holds no graphs: neither *.pt (also in processed/) nor *{INDICATOR} (also in raw/)."
    )
