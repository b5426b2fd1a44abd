"""The output folder: every file in it appears whole, or not at all.

A folder of this machine, or of a file system that is mounted on it, is a `LocalStore`: files are written under a
temporary name, synced, renamed, and the folder is synced. `scheme://path` is a `RemoteStore` behind fsspec: object
stores show an object only when it is complete; elsewhere it is written under a temporary name and moved.
"""

from __future__ import annotations

import os
import secrets
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from polypool._errors import first_line
from polypool.corpus.errors import CorpusError

#: What is of no use to readers: those of Parquet folders leave out names that begin with an underscore. They
#: do not leave out manifest.json, and are to read part-*.parquet.
JOB = "_job"
TEMPORARY = f"{JOB}/tmp"
#: What fsspec calls stores that show an object only when it is complete.
_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"}


class Store(ABC):
    """Files of one folder, by names that are relative to it.

    Attributes:
        url: The folder, as it can be opened on another machine.
    """

    url: str

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """What a folder holds, sorted; nothing where there is no such folder."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """The bytes of a file; None where there is none."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file to read.

        Raises:
            FileNotFoundError: There is none.
        """

    @abstractmethod
    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Writes a whole file, or nothing; what it replaces is there until then.

        Raises:
            OSError: There is no room, no permission, or no connection.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the folder where there is none, and clears what an earlier job left half-written."""

    def read(self, name: str) -> bytes | None:
        """All of a small file; None where there is none."""
        try:
            with self.open(name) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def path(self, name: str) -> Path | None:
        """Where a file is on this machine; None where it is elsewhere."""
        return None


class LocalStore(Store):
    """A folder of this machine."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.url = str(self.root)

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int | None:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        final = self.root / name
        # Whoever else writes the same file, left over from a job that was killed, writes into another one.
        temporary = self.root / TEMPORARY / f"{final.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            rename(temporary, final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(final.parent)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def prepare(self) -> None:
        for folder in (TEMPORARY, f"{JOB}/shards"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for left in (self.root / TEMPORARY).iterdir():
            left.unlink(missing_ok=True)
        sync_folder(self.root / JOB)

    def path(self, name: str) -> Path:
        return self.root / name


class RemoteStore(Store):
    """A folder behind fsspec; only the URL travels to workers."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._connect()

    def _connect(self) -> None:
        fs, root = file_system(self.url)
        self._fs, self._root = fs, root.rstrip("/")
        protocol = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
        self._atomic = not _ATOMIC.isdisjoint(protocol)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.url = state["url"]
        self._connect()

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def names(self, folder: str = "") -> list[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def size(self, name: str) -> int | None:
        self._fs.invalidate_cache()
        try:
            found = self._fs.info(self._at(name))
        except FileNotFoundError:
            return None
        return int(found["size"])

    def open(self, name: str) -> BinaryIO:
        return self._fs.open(self._at(name), "rb")

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        if self._atomic:
            with self._fs.open(self._at(name), "wb") as file:
                for part in parts:
                    file.write(part)
            return
        temporary = self._at(f"{TEMPORARY}/{name.rpartition('/')[2]}.{secrets.token_hex(8)}")
        self._fs.makedirs(self._at(TEMPORARY), exist_ok=True)
        self._fs.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
        with self._fs.open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        self._fs.mv(temporary, self._at(name))

    def remove(self, name: str) -> None:
        if self._fs.exists(self._at(name)):
            self._fs.rm(self._at(name))

    def prepare(self) -> None:
        self._fs.makedirs(self._at(f"{JOB}/shards"), exist_ok=True)
        for name in self.names(TEMPORARY):
            self.remove(f"{TEMPORARY}/{name}")


def open_store(out: str | os.PathLike[str]) -> Store:
    """The store of an output folder, which need not exist.

    Raises:
        CorpusError: It is a file, or a URL of a file system that is not installed.
    """
    if isinstance(out, str) and "://" in out:
        return RemoteStore(out)
    path = Path(out).expanduser()
    # Asked once: a folder that another job removes meanwhile is no file.
    with suppress(OSError):
        if not stat.S_ISDIR(path.stat().st_mode):
            raise CorpusError(f"the output must be a folder; {path} is a file.")
    return LocalStore(path)


def is_url(path: str) -> bool:
    """Whether fsspec is to open it."""
    return "://" in path


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        CorpusError: fsspec, or what it needs for this scheme, is not installed, or there is no such scheme.
    """
    try:
        import fsspec
    except ImportError as error:
        raise CorpusError(f"{url} needs fsspec: pip install polypool[corpus].") from error
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise CorpusError(f"{url} cannot be opened: {first_line(error)}.") from error


def rename(temporary: Path, final: Path) -> None:
    """Puts a finished file in its place, at once."""
    os.replace(temporary, final)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder outlast a loss of power."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # some network file systems do not open folders
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
