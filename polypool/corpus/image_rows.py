"""The row of an image file, and images in a column of a Parquet file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from polypool.corpus.adapter import Row, Unreadable
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import MAX_ROW
from polypool.corpus.lines import TOO_LONG
from polypool.corpus.parquets import Columns, id_type_of, opened, present
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
class ImageParquet(Columns):
    """A row has the bytes of an image file, or a struct with such `bytes`, as Hugging Face's data sets have it.

    Attributes:
        preparation: Of the images.
    """

    # Few at a time: an image is a thousand times larger than a text.
    batch = 8

    preparation: Preparation = field(kw_only=True)

    @classmethod
    def find(cls, name: str, column: str, id_column: str | None, preparation: Preparation) -> ImageParquet:
        """Looks at the columns.

        Raises:
            CorpusError: It is no Parquet, or has no such columns of these types.
        """
        from pyarrow import types

        with opened(name) as file:
            schema = file.schema_arrow
            present(name, schema, column, id_column)
            kind = schema.field(column).type
            if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)):
                raise CorpusError(
                    f"column {column!r} of {name} must hold the bytes of image files, or a struct with `bytes`; "
                    f"found {schema.field(column).type}."
                )
            id_type = id_type_of(name, schema, id_column)
        return cls(name, column, id_column, id_type, preparation=preparation)

    def made(self, value: Any, position: str, own: Any) -> Row | Unreadable:
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise ValueError(f"column {self.column!r} has no bytes")
        return image_row(data, self.preparation, position, own)
