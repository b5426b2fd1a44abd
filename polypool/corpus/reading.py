"""The vectors of a finished folder as arrays, without copying them.

A shard's vectors lie in its file in one piece, so that each `EmbeddingShard.matrix` is a memory map: nothing is read
until it is looked at, and the system drops what it needs no more. Behind fsspec, or where a file has another layout,
the shard is read into memory when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from polypool._errors import first_line
from polypool.corpus.checking import flaw
from polypool.corpus.errors import CorpusError
from polypool.corpus.manifest import FILE, FORMAT, IDENTITY, read_json
from polypool.corpus.shards import DTYPES, read_columns
from polypool.corpus.stores import Store, open_store


@dataclass(frozen=True)
class EmbeddingShard:
    """The rows of one file.

    Attributes:
        store: The folder.
        record: What the manifest says of it.
        begin: The place of its first row among all that were embedded.
        dimension: Of the vectors.
        dtype: Of the vectors.
    """

    store: Store
    record: dict[str, Any]
    begin: int
    dimension: int
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return int(self.record["rows"])

    @property
    def file(self) -> str:
        """Its name in the folder."""
        return str(self.record["file"])

    @property
    def matrix(self) -> NDArray[Any]:
        """`(n, dimension)`: a memory map, private to this process: writing to it does not change the file.

        Raises:
            CorpusError: The file is missing or has another size than when it was written.
        """
        path, at = self.store.path(self.file), self.record["vectors_at"]
        if self.store.size(self.file) != self.record["bytes"]:
            raise CorpusError(
                f"{self.file} is missing or has another size than the manifest says; run polypool verify."
            )
        if path is None or at is None:
            return self._read()
        # Copy on write and not read-only: torch.from_numpy warns of what cannot be written.
        return np.memmap(path, self.dtype, mode="c", offset=at, shape=(len(self), self.dimension)).view(
            np.ndarray
        )

    def _read(self) -> NDArray[Any]:
        values = self.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(self), self.dimension)

    def column(self, name: str) -> Any:
        """A column, as a `pyarrow.ChunkedArray`: `id`, `vector`, `n_tokens`, `truncated`, `finite`."""
        import pyarrow as pa

        try:
            with self.store.open(self.file) as file:
                found = read_columns(file, [name]).column(name)
            found.validate(
                full=True
            )  # whether strings are UTF-8, which pyarrow leaves to whoever looks at them
            return found
        except (OSError, pa.ArrowException, ValueError) as error:
            raise CorpusError(
                f"{self.file} cannot be read: {first_line(error)}; run polypool verify."
            ) from error

    @property
    def ids(self) -> NDArray[Any]:
        """`(n,)`: int64, or strings as objects."""
        found: NDArray[Any] = self.column("id").to_numpy()
        return found


class Embeddings:
    """The vectors of a folder that `polypool embed` finished.

    Args:
        store: The folder.
        manifest: Its manifest.

    Attributes:
        manifest: What it was made of.
        shards: The files, each with `ids` and a memory-mapped `matrix`.
        dimension: The size of the vectors.
        dtype: Theirs.
    """

    def __init__(self, store: Store, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.dimension = int(manifest["vectors"]["dimension"])
        self.dtype = np.dtype(DTYPES[manifest["vectors"]["dtype"]])
        self.shards: list[EmbeddingShard] = []
        begin = 0
        for record in manifest["shards"]:
            self.shards.append(EmbeddingShard(store, record, begin, self.dimension, self.dtype))
            begin += record["rows"]
        self._length = begin

    def __len__(self) -> int:
        return self._length

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimension."""
        return self._length, self.dimension

    @cached_property
    def ids(self) -> NDArray[Any]:
        """`(n,)`: the ids of all rows, int64, or strings as objects; read when first asked for."""
        if not self.shards:
            return np.zeros(0, np.int64)
        return np.concatenate([shard.ids for shard in self.shards])

    def batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Ids and memory-mapped vectors shard by shard, for what is larger than memory.

        Example:
            `for ids, vectors in open_embeddings(out).batches(): index.add(vectors)`
        """
        for shard in self.shards:
            yield shard.ids, shard.matrix

    def matrix(self) -> NDArray[Any]:
        """`(n, dimension)`: all vectors. A memory map where there is one shard, else a copy in memory."""
        if len(self.shards) == 1:
            return self.shards[0].matrix
        whole = np.empty(self.shape, self.dtype)
        for shard in self.shards:
            whole[shard.begin : shard.begin + len(shard)] = shard.matrix
        return whole

    @overload
    def __getitem__(self, place: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, place: slice | Sequence[int]) -> NDArray[Any]: ...
    def __getitem__(self, place: int | slice | Sequence[int]) -> NDArray[Any]:
        """The vector of a row by its place, `(dimension,)`; or those of several, `(m, dimension)`, copied."""
        if isinstance(place, slice):
            return self._take(np.arange(len(self))[place])
        if isinstance(place, int | np.integer):
            return self._take(np.array([place]))[0]
        return self._take(np.asarray(place, dtype=np.int64))

    def _take(self, places: NDArray[np.int64]) -> NDArray[Any]:
        asked = places
        places = np.where(places < 0, places + len(self), places)
        if len(places) and (int(places.min()) < 0 or int(places.max()) >= len(self)):
            wrong = asked[(places < 0) | (places >= len(self))][0]
            raise IndexError(f"there are {len(self)} rows; found {wrong}")
        found = np.empty((len(places), self.dimension), self.dtype)
        begins = np.array([shard.begin for shard in self.shards])
        # Behind an empty shard the next one begins at the same row: the last that does so holds it.
        homes = np.searchsorted(begins, places, side="right") - 1
        for home in np.unique(homes):
            own = homes == home
            found[own] = self.shards[home].matrix[places[own] - begins[home]]
        return found

    def nearest(self, queries: Any, k: int = 10) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """The k rows of largest inner product with each query, by looking at all rows, shard by shard.

        With vectors of length 1, as most sentence encoders give, that is the cosine. Rows that are not finite are left
        out. For a few million rows; an index such as faiss' is faster beyond.

        Args:
            queries: `(q, dimension)` or `(dimension,)`, an array or a tensor.
            k: How many, at most the number of rows.

        Returns:
            The products `(q, k)`, largest first, and the ids `(q, k)`; `(k,)` for one query.

        Raises:
            ValueError: The queries have another dimension, or k is below 1.
        """
        import torch

        asked = torch.as_tensor(queries, dtype=torch.float32)
        rows = asked.reshape(-1, asked.shape[-1]) if asked.dim() else asked.reshape(1, 1)
        if asked.dim() not in (1, 2) or rows.shape[1] != self.dimension:
            raise ValueError(
                f"queries must be (q, {self.dimension}) or ({self.dimension},); found {tuple(asked.shape)}."
            )
        if k < 1:
            raise ValueError(f"k must be at least 1; found {k}.")
        best = torch.empty(len(rows), 0)
        places = torch.empty(len(rows), 0, dtype=torch.int64)
        for shard in self.shards:
            products = rows @ torch.from_numpy(shard.matrix).float().T
            products = torch.where(products.isnan(), -torch.inf, products)
            own, where = products.topk(min(k, len(shard)), dim=1)
            best, places = torch.cat([best, own], 1), torch.cat([places, where + shard.begin], 1)
            best, order = best.topk(min(k, best.shape[1]), dim=1)
            places = places.gather(1, order)
        names = self.ids[places.numpy()]
        return (best[0].numpy(), names[0]) if asked.dim() == 1 else (best.numpy(), names)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The vectors one by one."""
        for shard in self.shards:
            yield from shard.matrix

    def __repr__(self) -> str:
        return f"Embeddings({len(self):,} rows, dimension={self.dimension}, {self.dtype}, {len(self.shards):,} shards)"


def open_embeddings(out: str | Path) -> Embeddings:
    r"""The ids and vectors of a folder that `polypool embed` finished; no vector is read before it is asked for.

    Args:
        out: The folder, or its URL for fsspec.

    Raises:
        CorpusError: The folder holds no finished job.

    Example:
        >>> import pathlib, tempfile
        >>> from polypool.corpus import embed
        >>> from polypool.demo.encoder import find_model
        >>> from polypool.text import open_embeddings
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "texts.txt").write_text("A cat sleeps.\nStocks fell.\nThe kitten naps.\n")
        >>> _ = embed(folder / "texts.txt", folder / "vectors", find_model(None), device="cpu")
        >>> vectors = open_embeddings(folder / "vectors")
        >>> vectors
        Embeddings(3 rows, dimension=384, float32, 1 shards)
        >>> vectors.nearest(vectors[0], k=2)[1]
        array([0, 2])
    """
    return Embeddings(*finished(out))


def finished(out: str | Path) -> tuple[Store, dict[str, Any]]:
    """A folder and its manifest.

    Raises:
        CorpusError: There is none, or it is that of another program or a later version.
    """
    store = open_store(out)
    manifest = read_json(store, FILE)
    if manifest is None:
        begun = store.size(IDENTITY) is not None
        why = (
            "its job is not finished; the same polypool embed continues it"
            if begun
            else f"there is no {FILE} in it"
        )
        raise CorpusError(f"{store.url} holds no finished embeddings: {why}.")
    if manifest.get("format") != FORMAT:
        raise CorpusError(
            f"{FILE} in {store.url} must have format {FORMAT}; found {manifest.get('format')!r}."
        )
    wrong = flaw(manifest)
    if wrong is not None:
        raise CorpusError(
            f"{FILE} in {store.url} {wrong}: it is not as it was written. The same polypool embed writes it anew."
        )
    return store, manifest
