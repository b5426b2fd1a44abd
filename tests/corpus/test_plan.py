"""Inputs and plans: every row exactly once, found again from its mark, whatever the file holds."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polypool.corpus import inputs as inputs_module
from polypool.corpus import lines as lines_module
from polypool.corpus.adapter import Row, Source, Unreadable
from polypool.corpus.csvs import Csv
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import expand, format_of
from polypool.corpus.lines import JsonLines, Lines
from polypool.corpus.parquets import Parquet
from polypool.corpus.plan import Plan, make_plan, read_shard

TEXTS = ["plain", "", "two words", 'a "quote", and a comma', "line\nbreak", "käse 🧀", " spaces "]


def rows_of(plan: Plan, sources: list[Source]) -> list[Row | Unreadable]:
    return [row for shard in plan.shards for _, row in read_shard(sources, shard)]


def texts(found: list[Row | Unreadable]) -> list[str | None]:
    return [row.content if isinstance(row, Row) else None for row in found]


def put(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def as_csv(rows: list[str]) -> str:
    quoted = ['"' + text.replace('"', '""') + '"' for text in rows]
    return "id,text\r\n" + "".join(f"{number},{text}\r\n" for number, text in enumerate(quoted))


def written(folder: Path, form: str) -> Source:
    """The same texts in each format; a line cannot hold a line break."""
    path = folder / f"texts.{form}"
    if form == "txt":
        return Lines(put(path, "\n".join(text.replace("\n", " ") for text in TEXTS)))
    if form == "jsonl":
        listed = "".join(json.dumps({"id": n, "text": text}) + "\n\n" for n, text in enumerate(TEXTS))
        return JsonLines(put(path, listed), "text", "id")
    if form == "csv":
        return Csv(put(path, as_csv(TEXTS)), "text", "id")
    table = pa.table({"id": list(range(len(TEXTS))), "text": TEXTS})
    pq.write_table(table, path, row_group_size=3)
    return Parquet.find(str(path), "text", "id")


@pytest.mark.parametrize("shard_rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "parquet"])
def test_every_row_once_and_in_order(form: str, shard_rows: int, tmp_path: Path) -> None:
    source = written(tmp_path, form)
    plan = make_plan([source], shard_rows)
    found = rows_of(plan, [source])
    assert texts(found) == [text.replace("\n", " ") if form == "txt" else text for text in TEXTS]
    assert [shard.rows for shard in plan.shards[:-1]] == [shard_rows] * (len(plan.shards) - 1)
    assert plan.files[0].sha256 == hashlib.sha256(Path(source.name).read_bytes()).hexdigest()
    if form != "txt":
        assert [str(row.id) for row in found] == [str(number) for number in range(len(TEXTS))]


def test_shards_go_over_the_ends_of_files(tmp_path: Path) -> None:
    sources: list[Source] = [Lines(put(tmp_path / f"{n}.txt", f"{n}a\n{n}b\n{n}c\n")) for n in range(3)]
    plan = make_plan(sources, 4)
    assert [(shard.first_row, shard.rows, len(shard.segments)) for shard in plan.shards] == [
        (0, 4, 2),
        (4, 4, 2),
        (8, 1, 1),
    ]
    assert texts(rows_of(plan, sources)) == [f"{n}{letter}" for n in range(3) for letter in "abc"]


def test_a_plan_is_the_input_and_not_where_it_lies(tmp_path: Path) -> None:
    first, other = put(tmp_path / "a.txt", "x\ny\n"), put(tmp_path / "b.txt", "x\ny\n")
    assert make_plan([Lines(first)], 2).sha256 == make_plan([Lines(other)], 2).sha256
    assert make_plan([Lines(first)], 1).sha256 != make_plan([Lines(first)], 2).sha256
    put(tmp_path / "b.txt", "x\nz\n")
    assert make_plan([Lines(first)], 2).sha256 != make_plan([Lines(other)], 2).sha256


def test_a_mark_in_bytes_and_a_mark_of_utf8_order(tmp_path: Path) -> None:
    source = Lines(put(tmp_path / "bom.txt", b"\xef\xbb\xbfone\r\ntwo\r\nthree"))
    plan = make_plan([source], 1)
    assert texts(rows_of(plan, [source])) == ["one", "two", "three"]


def reasons(found: list[Row | Unreadable]) -> dict[str, str]:
    return {row.position: row.reason for row in found if isinstance(row, Unreadable)}


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    source = Lines(put(tmp_path / "t.txt", b"good\nb\xffd\ngood\n"))
    found = rows_of(make_plan([source], 2), [source])
    assert texts(found) == ["good", None, "good"]
    assert reasons(found) == {"line 2": "invalid UTF-8: byte 1 is 0xff"}


def test_a_line_that_is_too_long_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_ROW", 100)
    monkeypatch.setattr(lines_module, "_CHUNK", 64)
    path = put(tmp_path / "t.txt", "short\n" + "x" * 1000 + "\nafter\n" + "y" * 100 + "\n" + "z" * 300)
    source = Lines(path)
    plan = make_plan([source], 1)
    found = rows_of(plan, [source])
    assert texts(found) == ["short", None, "after", "y" * 100, None]
    assert [row.reason for row in found if isinstance(row, Unreadable)] == [lines_module.TOO_LONG] * 2
    assert plan.files[0].sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "no JSON: "),
        (b"[1]", "no JSON object: a list"),
        (b'{"id": 1}', "no column 'text'"),
        (b'{"id": 1, "text": 5}', "column 'text' must be a string; found int"),
        (b'{"id": 1, "text": null}', "column 'text' must be a string; found null"),
        (b'{"id": true, "text": "x"}', "the id must be a string or an integer; found bool"),
        (b'{"id": 1.5, "text": "x"}', "the id must be a string or an integer; found float"),
        (b'{"text": "x"}', "the id must be a string or an integer; found none"),
        (b'{"id": 1, "text": "\\ud800"}', "half of a surrogate pair at character 0"),
        (b'{"id": 1, "text": "\xff"}', "invalid UTF-8: byte 19 is 0xff"),
        (b"[" * 100_000, "no JSON that can be read: nested too deeply"),
    ],
)
def test_json_that_cannot_be_read(line: bytes, reason: str, tmp_path: Path) -> None:
    good = b'{"id": "a", "text": "good"}\n'
    source = JsonLines(put(tmp_path / "t.jsonl", good + line + b"\n" + good), "text", "id")
    found = rows_of(make_plan([source], 2), [source])
    assert texts(found) == ["good", None, "good"]
    assert reasons(found)["line 2"].startswith(reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"1", "1 fields under a header of 2"),
        (b"1,two,three", "3 fields under a header of 2"),
        (b"1,b\xffd", "invalid UTF-8 in column 'text': character 1 is byte 0xff"),
        (b"\xfe,text", "invalid UTF-8 in column 'id': character 0 is byte 0xfe"),
        (b'1,"a"b', "',' expected after '\"'"),
        (b'1,"never closed', "not a CSV record, is a quote not closed? (unexpected end of data)"),
    ],
)
def test_csv_that_cannot_be_read(record: bytes, reason: str, tmp_path: Path) -> None:
    source = Csv(
        put(tmp_path / "t.csv", b"id,text\n0,good\n" + record + b"\n2,after\n3,last\n"), "text", "id"
    )
    found = rows_of(make_plan([source], 2), [source])
    assert texts(found) == ["good", None, "after", "last"]
    assert reasons(found) == {"line 3": reason}


def test_a_stray_quote_swallows_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the record would be longer than any may be; and every byte is hashed once."""
    from polypool.corpus import csvs

    monkeypatch.setattr(csvs, "MAX_ROW", 200)
    body = '0,"open\n' + "".join(f"{n},text {n}\n" for n in range(1, 60)) + '60,"multi\nline"\n'
    path = put(tmp_path / "t.csv", "id,text\n" + body)
    source = Csv(path, "text", "id")
    plan = make_plan([source], 7)
    found = rows_of(plan, [source])
    assert texts(found) == [None, *(f"text {n}" for n in range(1, 60)), "multi\nline"]
    assert "is a quote not closed" in reasons(found)["line 2"]
    assert plan.files[0].sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_field_of_ten_megabytes(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    source = Csv(put(tmp_path / "t.csv", f'text\nshort\n"{long}"\nafter\n'), "text")
    assert texts(rows_of(make_plan([source], 2), [source])) == ["short", long, "after"]


def test_parquet_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array(["ab", "cd", "ef"]).buffers())
    raw = bytearray(broken.buffers()[2].to_pybytes())
    raw[2] = 0xFF
    bad = pa.Array.from_buffers(pa.string(), 3, [None, broken.buffers()[1], pa.py_buffer(bytes(raw))])
    table = pa.table(
        {"id": ["a", None, "c", "d"], "text": pa.concat_arrays([bad, pa.array([None], pa.string())])}
    )
    pq.write_table(table, path)
    source = Parquet.find(str(path), "text", "id")
    found = rows_of(make_plan([source], 3), [source])
    assert texts(found) == ["ab", None, "ef", None]
    assert reasons(found) == {"row 1": "column 'id' is null", "row 3": "column 'text' is null"}
    without = Parquet.find(str(path), "text", None)
    assert reasons(rows_of(make_plan([without], 3), [without]))["row 1"] == (
        "invalid UTF-8 in column 'text': byte 0 is 0xff"
    )


def test_a_parquet_page_that_is_broken(tmp_path: Path) -> None:
    """The rows that cannot be reached are in the quarantine, those of other row groups are not."""
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"text": [f"text {n}" for n in range(9)]}), path, row_group_size=3, use_dictionary=False
    )
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    begin = group.data_page_offset
    content[begin : begin + 12] = b"\xff" * 12
    path.write_bytes(content)
    source = Parquet.find(str(path), "text", None)
    found = rows_of(make_plan([source], 4), [source])
    assert texts(found) == [f"text {n}" if not 3 <= n < 6 else None for n in range(9)]
    assert set(reasons(found)) == {"row 3", "row 4", "row 5"}


def test_integer_ids_of_parquet_stay_integers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [7, 8], "text": ["a", "b"]}), tmp_path / "t.parquet")
    source = Parquet.find(str(tmp_path / "t.parquet"), "text", "id")
    assert source.id_type == "int64"
    assert [row.id for row in rows_of(make_plan([source], 2), [source])] == [7, 8]


# Input that is wrong as a whole.


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.txt", b"", "is empty: it has no rows"),
        ("t.jsonl", b"\n\n", "is empty: it has no rows"),
        ("t.jsonl", b'{"body": "x"}\n', "has no column 'text'; line 1 has body"),
        ("t.jsonl", b'{"text": 1}\n', "must hold strings; line 1 has a int"),
        ("t.jsonl", b"id,text\n1,x\n", "must hold one JSON object a line; found none: line 1 is no JSON"),
        ("t.csv", b"", "is empty: it has no header"),
        ("t.csv", b"id,text\n", "is empty: it has no rows"),
        ("t.csv", b"id,body\n1,x\n", "has no column 'text'; it has id, body"),
        ("t.csv", b"text,text\n1,x\n", "has more than one column 'text'"),
        ("t.csv", b'"text\n', "the header of"),
        ("t.parquet", b"no parquet at all", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_wrong(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    from polypool.corpus.texts import TextAdapter

    path = put(tmp_path / name, content)
    with pytest.raises(CorpusError, match=said.replace("?", r"\?")) as error:
        make_plan(TextAdapter(model="none").sources([path]), 4)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_parquet_columns_of_another_type(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"text": [1], "id": [1.5], "body": ["x"]}), path)
    with pytest.raises(CorpusError, match=r"'text' of .* must hold strings; found int64"):
        Parquet.find(path, "text", None)
    with pytest.raises(CorpusError, match=r"'id' of .* must hold strings or integers; found double"):
        Parquet.find(path, "body", "id")
    with pytest.raises(CorpusError, match="no column 'nonsense'; it has text, id, body"):
        Parquet.find(path, "nonsense", None)


def test_which_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.csv"):
        put(tmp_path / name, "x\n")
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub" / "d.txt", "x\n")
    named = [Path(path).name for path in expand([str(tmp_path / "b.txt"), str(tmp_path / "**" / "*.txt")])]
    assert named == ["b.txt", "a.txt", "d.txt"]
    assert [Path(path).name for path in expand([f"file://{tmp_path}/*.txt"])] == ["a.txt", "b.txt"]
    for pattern, said in [
        (str(tmp_path / "no.txt"), "there is no file"),
        (str(tmp_path / "*.jsonl"), "no file matches"),
        (str(tmp_path / "sub"), "is a folder; name its files"),
        (f"file://{tmp_path}/no.txt", "there is no file"),
        ("nonsense://x", "cannot be opened"),
    ]:
        with pytest.raises(CorpusError, match=said):
            expand([pattern])
    with pytest.raises(CorpusError, match="there is no input"):
        expand([])


def test_formats() -> None:
    assert [format_of(name, None) for name in ("a.TXT", "s3://b/c.ndjson", "x.tsv", "y.pq")] == [
        "txt",
        "jsonl",
        "tsv",
        "parquet",
    ]
    assert format_of("data.bin", "csv") == "csv"
    with pytest.raises(CorpusError, match=r"data.bin must end in .txt"):
        format_of("data.bin", None)
    with pytest.raises(CorpusError, match="format must be one of txt"):
        format_of("data.bin", "xml")
    assert sys.maxsize > inputs_module.MAX_ROW


def test_a_source_that_became_shorter_is_seen(tmp_path: Path) -> None:
    path = put(tmp_path / "t.txt", "a\nb\nc\n")
    source = Lines(path)
    plan = make_plan([source], 4)
    put(tmp_path / "t.txt", "a\nb\n")
    with pytest.raises(OSError, match="has changed while it was read: 2 rows of 3"):
        rows_of(plan, [source])
