"""The row of an image file, and images in a column of a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError, first_line
from polypool.corpus.inputs import MAX_ROW
from polypool.corpus.lines import TOO_LONG
from polypool.corpus.parquets import Parquet, opened, require, value_of
from polypool.corpus.pictures import Preparation


def image_row(
    data: bytes, preparation: Preparation, position: str, own: str | int | None
) -> Row | Unreadable:
    """The pixels of an image file, or why there are none."""
    try:
        if len(data) > MAX_ROW:
            raise ValueError(TOO_LONG)
        picture = preparation(data)
    except ValueError as error:
        return Unreadable(position, str(error), own)
    return Row(picture, position, picture.pixels.nbytes, own)


@dataclass(frozen=True)
class ImageParquet(Source):
    """A row has the bytes of an image file, or a struct with such `bytes`, as Hugging Face's data sets have it.

    Attributes:
        name: The path or URL.
        column: Of the images.
        id_column: Of the ids; None where the number of the row is its id.
        id_type: `"int64"` where the ids are integers or the rows' numbers, else `"string"`.
        preparation: Of the images.
    """

    name: str
    column: str
    id_column: str | None
    id_type: str
    preparation: Preparation

    @classmethod
    def find(cls, name: str, column: str, id_column: str | None, preparation: Preparation) -> ImageParquet:
        """Looks at the columns.

        Raises:
            CorpusError: It is no Parquet, or has no such columns of these types.
        """
        from pyarrow import types

        id_type = "int64"
        with opened(name) as file:
            schema = file.schema_arrow
            for wanted in filter(None, (column, id_column)):
                if schema.names.count(wanted) != 1:
                    raise CorpusError(
                        f"{name} has no column {wanted!r}; it has {', '.join(schema.names[:20])}."
                    )
            kind = schema.field(column).type
            if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)):
                raise CorpusError(
                    f"column {column!r} of {name} must hold the bytes of image files, or a struct with `bytes`; "
                    f"found {schema.field(column).type}."
                )
            if id_column is not None:
                whole = require(name, id_column, schema.field(id_column).type, integers=True)
                id_type = "int64" if whole else "string"
        return cls(name, column, id_column, id_type, preparation)

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        return Parquet(self.name, self.column, self.id_column).scan(update)

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
        import pyarrow as pa

        columns = [self.column] + ([] if self.id_column is None else [self.id_column])
        at = begin
        try:
            # Few at a time: an image is a thousand times larger than a text.
            for batch in file.iter_batches(8, row_groups=[group], columns=columns, use_threads=False):
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
            found = value_of(batch, self.column, place)
        except ValueError as error:
            return Unreadable(position, str(error), own)
        data = found.get("bytes") if isinstance(found, dict) else found
        if data is None:
            return Unreadable(position, f"column {self.column!r} has no bytes", own)
        return image_row(data, self.preparation, position, own)
