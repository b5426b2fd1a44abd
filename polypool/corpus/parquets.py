"""What a column of a Parquet file holds, page by page: row groups may be larger than memory. Texts are the first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from polypool._errors import first_line
from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import MAX_ROW, open_binary
from polypool.corpus.lines import TOO_LONG

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Columns(Source):
    """A row with a value in one column, and its id in another.

    Attributes:
        name: The path or URL.
        column: The column of the values.
        id_column: The column of the ids, strings or integers; None where the number of the row is its id.
        id_type: `"int64"` where the ids are integers or the rows' numbers, else `"string"`.
    """

    #: How many rows are read together.
    batch: ClassVar[int]

    name: str
    column: str
    id_column: str | None = None
    id_type: str = "int64"

    @abstractmethod
    def made(self, value: Any, position: str, own: Any) -> Row | Unreadable:
        """The row of a value.

        Raises:
            ValueError: It cannot be read; why.
        """

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        with opened(self.name) as file:
            rows = file.metadata.num_rows
        with open_binary(self.name) as raw:
            while chunk := raw.read(_CHUNK):
                update(chunk)
        yield from range(rows)

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        with opened(self.name) as file:
            begin, end = 0, mark + count
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                first, last = max(mark, begin), min(end, begin + rows)
                if first < last:
                    yield from self._group(file, group, begin, first, last)
                begin += rows

    def _group(self, file: Any, group: int, begin: int, first: int, last: int) -> Iterator[Row | Unreadable]:
        """The rows from `first` to `last` of the file, in a row group that begins at row `begin`."""
        import pyarrow as pa

        columns = [self.column] + ([] if self.id_column is None else [self.id_column])
        at = begin
        try:
            for batch in file.iter_batches(
                self.batch, row_groups=[group], columns=columns, use_threads=False
            ):
                for place in range(max(first - at, 0), min(last - at, len(batch))):
                    yield self._row(batch, place, at + place)
                at += len(batch)
                if at >= last:
                    return
        except (pa.ArrowException, OSError) as error:
            reason = f"row group {group} cannot be read here: {first_line(error)}"
            for row in range(max(first, at), last):
                yield Unreadable(f"row {row}", reason)

    def _row(self, batch: Any, place: int, number: int) -> Row | Unreadable:
        position, own = f"row {number}", None
        try:
            if self.id_column is not None:
                own = value_of(batch, self.id_column, place)
            return self.made(value_of(batch, self.column, place), position, own)
        except ValueError as error:
            return Unreadable(position, str(error), own)


@dataclass(frozen=True)
class Parquet(Columns):
    """A row with a text."""

    batch = 256

    @classmethod
    def find(cls, name: str, text_column: str, id_column: str | None) -> Parquet:
        """Looks at the columns.

        Raises:
            CorpusError: It is no Parquet, or has no such columns of these types.
        """
        with opened(name) as file:
            schema = file.schema_arrow
            present(name, schema, text_column, id_column)
            require(name, text_column, schema.field(text_column).type, integers=False)
            return cls(name, text_column, id_column, id_type_of(name, schema, id_column))

    def made(self, value: Any, position: str, own: Any) -> Row | Unreadable:
        if len(value) > MAX_ROW:
            raise ValueError(TOO_LONG)
        return Row(value, position, len(value), own)


def present(name: str, schema: Any, *columns: str | None) -> None:
    """Every column that is named is there, once.

    Raises:
        CorpusError: One is not.
    """
    for column in filter(None, columns):
        if schema.names.count(column) != 1:
            raise CorpusError(f"{name} has no column {column!r}; it has {', '.join(schema.names[:20])}.")


def id_type_of(name: str, schema: Any, id_column: str | None) -> str:
    """`"int64"` where ids are integers or the rows' numbers, else `"string"`.

    Raises:
        CorpusError: They are neither.
    """
    if id_column is None:
        return "int64"
    return "int64" if require(name, id_column, schema.field(id_column).type, integers=True) else "string"


def value_of(batch: Any, column: str, place: int) -> Any:
    """One value.

    Raises:
        ValueError: It is null, or no UTF-8.
    """
    try:
        value = batch.column(column)[place].as_py()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"invalid UTF-8 in column {column!r}: byte {error.start} is 0x{byte:02x}") from None
    if value is None:
        raise ValueError(f"column {column!r} is null")
    return value


@contextmanager
def opened(name: str) -> Iterator[Any]:
    """A Parquet file, open inside the block.

    Raises:
        CorpusError: It is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_binary(name) as raw:
        try:
            # Pages are read as they are needed, and not whole row groups ahead.
            file = pq.ParquetFile(raw, buffer_size=_CHUNK, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{name} cannot be read as Parquet: {first_line(error)}.") from error
        yield file


def require(name: str, column: str, kind: Any, integers: bool) -> bool:
    """Whether a column holds integers; it must hold strings, or integers where they are allowed.

    Raises:
        CorpusError: It holds something else.
    """
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner):
        return False
    if integers and types.is_integer(inner) and not types.is_uint64(inner):
        return True
    wanted = "strings or integers" if integers else "strings"
    raise CorpusError(f"column {column!r} of {name} must hold {wanted}; found {kind}.")
