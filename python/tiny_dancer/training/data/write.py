"""Tables to files: Parquet, CSV, TSV or JSONL, as the name says."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.training.data import arrow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from tiny_dancer.training.data.arrow import Column

WRITTEN = (".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")


def check_suffix(path: Path, option: str = "out") -> None:
    """Refuses a name that does not say what to write.

    Raises:
        OptionError: no suffix of a table.
    """
    if _suffix(path) is None:
        raise OptionError(option, str(path), f"give a name that ends in {', '.join(WRITTEN)}")


def table_bytes(
    path: Path,
    columns: Mapping[str, Column],
    *,
    nested: Collection[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The content of a file of this name; read again, it is the same table.

    Args:
        path: of the file, which is not written.
        columns: name → column, all of one length. In CSV, lists and objects are JSON; null is empty.
        nested: columns whose text is JSON, which in JSONL are lists and objects.
        metadata: of the table; only Parquet keeps it.

    Raises:
        OptionError: no suffix of a table, or one that cannot hold bytes that are no text.
        DataError: text that is not UTF-8.
    """
    check_suffix(path)
    suffix = _suffix(path) or ""
    if suffix == ".parquet":
        return arrow.parquet_bytes(columns, metadata or {})
    printable: dict[str, Column] = {}
    for name, column in columns.items():
        if arrow.type_name(column).startswith("fixed_size_binary"):
            raise OptionError("out", path.name, f"column {name!r} is no text: write a .parquet file")
        found = arrow.printable(column)
        if found is None:
            raise DataError(name, "text that is not UTF-8", "re-encode it, or write a .parquet file")
        printable[name] = found
    if suffix.startswith(".jsonl"):
        content = "".join(_json_lines(printable, nested)).encode("utf-8", "surrogatepass")
    else:
        flat = {name: _as_json(each) if arrow.is_nested(each) else each for name, each in printable.items()}
        content = arrow.csv_bytes(flat, "\t" if suffix.startswith(".tsv") else ",")
    return gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content


def _json_lines(columns: Mapping[str, Column], nested: Collection[str]) -> Iterator[str]:
    names = list(columns)
    inner = [name in nested for name in names]
    for row in zip(*(arrow.as_python(column) for column in columns.values()), strict=True):
        record = {
            name: json.loads(value) if is_json and isinstance(value, str) and value[:1] in "[{" else value
            for name, value, is_json in zip(names, row, inner, strict=True)
        }
        yield json.dumps(record, ensure_ascii=False, default=str) + "\n"


def _as_json(column: Column) -> Column:
    values = arrow.as_python(column)
    return arrow.from_texts([None if each is None else json.dumps(each, ensure_ascii=False) for each in values])


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in WRITTEN if name.endswith(suffix) and name != suffix), None)
