"""Image files: those of a folder, those that are named, and which of them there are."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath

from polypool._errors import first_line
from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError
from polypool.corpus.image_rows import ImageParquet, image_row
from polypool.corpus.inputs import MAX_ROW, expand, open_binary
from polypool.corpus.lines import require_unicode
from polypool.corpus.pictures import Preparation
from polypool.corpus.stores import JOB, file_system, is_url

#: What counts as an image in a folder, by the end of its name.
SUFFIXES = frozenset(
    f".{name}"
    for names in ("avif bmp gif jfif jp2 jpeg", "jpg pbm pgm png pnm", "ppm tif tiff webp")
    for name in names.split()
)
_PARQUET = (".parquet", ".pq")


class ImageFiles(Source):
    """A row is a file, and its id is its path below `base`.

    Attributes:
        base: What the ids leave out.
        preparation: Of the images.
    """

    base: str
    preparation: Preparation

    @abstractmethod
    def paths(self, mark: Mark) -> Iterator[tuple[Mark, str]]:
        """All files from one on, from the first on if None, each with its mark."""

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        for mark, path in self.paths(None):
            digest = hashlib.sha256()
            try:
                with open_binary(path) as file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
            except OSError as error:  # the row goes to the quarantine when its turn comes
                digest.update(type(error).__name__.encode())
            update(os.fsencode(self._name(path)) + b"\0" + digest.digest())
            yield mark

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        for _, path in islice(self.paths(mark), count):
            yield self._row(path)

    def _row(self, path: str) -> Row | Unreadable:
        name = self._name(path)
        position = os.fsencode(name).decode("utf-8", "backslashreplace")
        own = None
        try:
            require_unicode(name)
            own = name
            with open_binary(path) as file:
                data = file.read(MAX_ROW + 1)
        except OSError as error:
            return Unreadable(position, f"cannot be opened: {error.strerror or first_line(error)}", own)
        except ValueError:
            return Unreadable(position, "its name is no UTF-8")
        return image_row(data, self.preparation, position, own)

    def _name(self, path: str) -> str:
        return path.removeprefix(self.base).lstrip("/") if self.base else path


@dataclass(frozen=True)
class ImageList(ImageFiles):
    """Files that were named one by one, or by a glob.

    Attributes:
        name: The folder that they have in common.
        files: Their paths, in the order given.
    """

    name: str
    files: tuple[str, ...]
    base: str
    preparation: Preparation

    def paths(self, mark: Mark) -> Iterator[tuple[Mark, str]]:
        for place in range(mark or 0, len(self.files)):
            yield place, self.files[place]


@dataclass(frozen=True)
class ImageFolder(ImageFiles):
    """The images below a folder, sorted by name in each folder. Names that begin with a dot are left out.

    It holds the names of one folder at a time.

    Attributes:
        name: The path or URL.
        seen: When each folder in it was last changed, as `scan` found it.
    """

    name: str
    base: str
    preparation: Preparation
    seen: dict[str, int] = field(default_factory=dict, compare=False)

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        self.seen.clear()
        found = False
        for mark in super().scan(update):
            found = True
            yield mark
        if not found:
            raise CorpusError(f"{self.name} holds no images: no file ends in {', '.join(sorted(SUFFIXES))}.")

    def paths(self, mark: Mark) -> Iterator[tuple[Mark, str]]:
        start = () if mark is None else tuple(mark)
        for parts in self._below(self.name, start, noting=mark is None):
            yield list(parts), "/".join((self.name.rstrip("/"), *parts))

    def _below(self, folder: str, start: tuple[str, ...], noting: bool) -> Iterator[tuple[str, ...]]:
        changed, entries = _changed(folder), _entries(folder)
        if (JOB, True) in entries:  # an output of this command, which may be the one that is being written
            return
        if noting:
            self.seen[folder] = changed
        elif self.seen.get(folder, changed) != changed:
            # A file more or less would shift rows from one shard to the next.
            raise OSError(f"{folder} has changed since the job began")
        for name, is_folder in entries:
            if start and name < start[0]:
                continue
            rest = start[1:] if start and name == start[0] else ()
            if is_folder:
                for below in self._below(f"{folder.rstrip('/')}/{name}", rest, noting):
                    yield (name, *below)
            else:
                yield (name,)


def find_images(
    inputs: Sequence[str], column: str, id_column: str | None, preparation: Preparation
) -> list[Source]:
    """The sources of some folders, files and globs; image files that follow each other are one.

    Raises:
        CorpusError: There is no such file, or it is neither an image nor Parquet.
    """
    places: list[str | list[str]] = []
    for given in inputs:
        if _is_folder(given):
            places.append(given.rstrip("/") if is_url(given) else os.path.abspath(os.path.expanduser(given)))
            continue
        for path in expand([given]):
            suffix = PurePosixPath(path).suffix.lower()
            if suffix in _PARQUET:
                places.append(path)
            elif suffix not in SUFFIXES:
                raise CorpusError(
                    f"{path} must be a folder, an image ({', '.join(sorted(SUFFIXES))}) or a .parquet file."
                )
            elif places and isinstance(places[-1], list):
                places[-1].append(path)
            else:
                places.append([path])
    # One id for each file, also where folders have files of the same name.
    held = [os.path.dirname(path) for place in places if isinstance(place, list) for path in place]
    held += [place for place in places if isinstance(place, str) and not place.endswith(_PARQUET)]
    base = _common(held)
    found: list[Source] = []
    for place in places:
        if isinstance(place, list):
            folder = _common([os.path.dirname(path) for path in place])
            found.append(ImageList(folder, tuple(dict.fromkeys(place)), base, preparation))
        elif place.endswith(_PARQUET):
            found.append(ImageParquet.find(place, column, id_column, preparation))
        else:
            found.append(ImageFolder(place, base, preparation))
    return found


def _is_folder(path: str) -> bool:
    if not is_url(path):
        return os.path.isdir(os.path.expanduser(path))
    fs, inner = file_system(path)
    return bool(fs.isdir(inner))


def _common(folders: Sequence[str]) -> str:
    """The folder that holds all of them; nothing where they have none in common."""
    parts = [folder.split("/") for folder in folders]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared)


def _changed(folder: str) -> int:
    """When a folder was last changed; 0 where that is not known."""
    return 0 if is_url(folder) else os.stat(folder).st_mtime_ns


def _entries(folder: str) -> list[tuple[str, bool]]:
    """The images and folders in a folder, sorted, each with whether it is a folder; links to folders are neither."""
    if is_url(folder):
        fs, inner = file_system(folder)
        listed = [
            (str(entry["name"]).rstrip("/").rpartition("/")[2], entry["type"] == "directory")
            for entry in fs.ls(inner, detail=True)
        ]
    else:
        with os.scandir(folder) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return sorted(
        (name, is_folder)
        for name, is_folder in listed
        if not name.startswith(".") and (is_folder or os.path.splitext(name)[1].lower() in SUFFIXES)
    )
