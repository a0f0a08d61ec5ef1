"""Files and tables in memory to raw columns: Parquet, CSV, TSV, JSONL, JSON and xlsx, told apart by suffix."""

from __future__ import annotations

import json
import os
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiny_dancer import files
from tiny_dancer.errors import DataError
from tiny_dancer.training.data import arrow, excel, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tiny_dancer.training.data.arrow import Column

# gzip raises the last two on truncated and damaged streams; the codecs what no Unicode is.
READ_FAULTS: tuple[type[Exception], ...] = (*arrow.READ_FAULTS, EOFError, zlib.error, UnicodeError)
FORMATS = ".parquet, .csv, .tsv, .jsonl, .json, .xlsx, .csv.gz, .tsv.gz or .jsonl.gz"
COMPRESSED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")


class DataWarning(UserWarning):
    """Something of a table that was left unused, or read by a guess; the message names it."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Columns of one file as they lie there; nothing is checked yet.

    Attributes:
        name: the file's name, for messages.
        stem: the file's name without suffixes, for generated sample ids.
        names: every column of the file, read or not.
        columns: the columns that were wanted.
        rows: how many rows they have.
        metadata: the Parquet schema's metadata; empty for other formats.
        decimal_comma: whether numbers may have a comma for the point: in files not separated by commas.
        spelt: whether numbers are text, as in CSV.
        nested: columns whose text is the JSON of lists and objects.
        models: columns that are models because the file said so in its rows.
    """

    name: str
    stem: str
    names: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: int
    metadata: Mapping[str, str]
    decimal_comma: bool = False
    spelt: bool = False
    nested: frozenset[str] = frozenset()
    models: tuple[str, ...] = ()


def is_frame(table: object) -> bool:
    """Whether this is a table in memory: pandas, polars, Arrow, or whatever speaks their protocols."""
    return any(hasattr(table, name) for name in ("__arrow_c_stream__", "__arrow_c_array__", "__dataframe__"))


def read_raw(source: Path | str | object, wanted: Callable[[str], bool]) -> RawTable:
    """Reads the columns of one table whose names are ``wanted``; the others are never read.

    Blanks around names are no part of them (``prompt, gpt-4`` names ``prompt`` and ``gpt-4``).

    Args:
        source: a file, or a table in memory (:func:`is_frame`).
        wanted: whether a column is to be read, by its name.

    Raises:
        DataError: no such file, unknown suffix, or bytes that are not what the suffix says.
    """
    if is_frame(source):
        names, columns, metadata, rows = arrow.frame_columns(source, lambda name: wanted(_trimmed(name)))
        return _checked(RawTable(f"the {type(source).__name__}", "row", tuple(names), columns, rows, metadata))
    if not isinstance(source, str | os.PathLike):
        remedy = "give a file's path, a pandas or polars DataFrame, or an Arrow table"
        raise DataError("table", type(source).__name__, remedy)
    path = Path(source)
    try:
        files.check(path)
    except OSError as error:
        raise not_readable(path, error) from error
    kind, stem = kind_of(path)
    if path.stat().st_size == 0:
        raise DataError("table", path.name, "the file is empty: write it again")
    try:
        return _checked(_read(path, kind, stem, lambda name: wanted(_trimmed(name))))
    except READ_FAULTS as error:
        reason = " ".join(str(error).split())
        raise DataError(
            "table", f"{path.name}: {reason}", f"the file is no sound {kind[1:]} (truncated?): write it again"
        ) from error


def kind_of(path: Path) -> tuple[str, str]:
    """The suffix that says what a file is, without ``.gz``, and its name without suffixes.

    Raises:
        DataError: no suffix of a table.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-1] if suffixes else ""
    stem = path.name[: -len(kind)] if kind else path.name
    if kind == ".gz":
        kind = suffixes[-2] if len(suffixes) > 1 else ""
        stem = stem[: -len(kind)] if kind else stem
        if kind in (".parquet", ".xlsx"):
            raise DataError("table", path.name, f"{kind[1:]} is compressed inside: gunzip it")
    if kind not in (*COMPRESSED, ".parquet", ".xlsx"):
        raise DataError("table", path.name, f"use {FORMATS}")
    return kind, stem


def _read(path: Path, kind: str, stem: str, wanted: Callable[[str], bool]) -> RawTable:
    metadata: dict[str, str] = {}
    nested: frozenset[str] = frozenset()
    decimal_comma = False
    if kind == ".parquet":
        names, columns, metadata, rows = arrow.parquet_columns(path, wanted)
    elif kind in (".csv", ".tsv"):
        dialect = text.dialect_of(path, "\t" if kind == ".tsv" else ",")
        if dialect.guessed:
            message = f"{path.name} is no UTF-8 and was read as Windows-1252: re-encode it if letters look wrong"
            warnings.warn(DataWarning(message), stacklevel=4)
        decimal_comma = dialect.delimiter != ","
        names, columns, rows = arrow.csv_columns(path, wanted, dialect)
    elif kind == ".xlsx":
        header, cells = excel.sheet_rows(path)
        names, rows = header, len(cells)
        columns = {
            name: _cell_column([row[place] for row in cells])
            for place, name in enumerate(names)
            if wanted(name) and names.count(name) == 1
        }
    else:
        records = _json_array(path) if kind == ".json" else _json_lines(path)
        names, columns, rows, nested = _record_columns(path.name, records, wanted)
    return RawTable(
        name=path.name,
        stem=stem,
        names=tuple(names),
        columns=columns,
        rows=rows,
        metadata=metadata,
        decimal_comma=decimal_comma,
        spelt=kind in (".csv", ".tsv"),
        nested=nested,
    )


def _checked(raw: RawTable) -> RawTable:
    """The table with its names trimmed; no two may be the same."""
    names = tuple(map(_trimmed, raw.names))
    for name in names:
        if names.count(name) > 1:
            shown = name or "a column without a name"
            raise DataError(shown, f"more than one column of {raw.name}", "rename or drop all but one")
    return replace(
        raw,
        names=names,
        columns={_trimmed(name): column for name, column in raw.columns.items()},
        nested=frozenset(map(_trimmed, raw.nested)),
    )


def _trimmed(name: str) -> str:
    """A column's name without the blanks around it and its parts, which a header's separators often have."""
    return "|".join(part.strip() for part in name.split("|"))


def not_readable(path: Path, error: OSError) -> DataError:
    """What is raised where a table's file cannot be opened."""
    nothing = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    return DataError("table", path, f"{'no such file' if nothing else error.strerror}: check the path")


def _json_lines(path: Path) -> Iterator[dict[str, object]]:
    """One object a line."""
    for number, line in enumerate(text.lines(path), 1):
        if line.strip():
            yield _json_record(path.name, number, line)


def _json_array(path: Path) -> Iterator[dict[str, object]]:
    """The objects of one list; or, as many name such files so, one object a line."""
    content = b"".join(text.lines(path)).removeprefix(b"\xef\xbb\xbf")
    if not content.lstrip().startswith(b"["):
        yield from _json_lines(path)
        return
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise DataError(path.name, error, "write the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(path.name, error, "write one JSON list of objects") from error
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise DataError(f"{path.name} item {number}", type(record).__name__, "write one JSON list of objects")
        yield record


def _record_columns(
    file: str, records: Iterable[dict[str, object]], wanted: Callable[[str], bool]
) -> tuple[list[str], dict[str, Column], int, frozenset[str]]:
    """All keys in order, the wanted ones as columns (absent is null), the number of rows, the nested columns."""
    columns: dict[str, list[object]] = {}
    names: dict[str, None] = {}
    rows = 0
    for record in records:
        for name, value in record.items():
            names[name] = None
            if wanted(name):
                columns.setdefault(name, [None] * rows).append(value)
        rows += 1
        for values in columns.values():
            if len(values) < rows:
                values.append(None)
    nested = frozenset(
        name for name, values in columns.items() if any(type(each) in (dict, list) for each in values)
    )
    return list(names), {name: _json_column(file, name, values) for name, values in columns.items()}, rows, nested


def _cell_column(values: list[object]) -> Column:
    """One column of a sheet; where some cells are text, all become text."""
    if any(isinstance(value, str) for value in values):
        return arrow.from_bytes(_encoded([None if value is None else str(value) for value in values]))
    if {type(value) for value in values if value is not None} in ({bool}, {int}, set()):
        return arrow.from_scalars(values)
    return arrow.from_scalars([float(value) if isinstance(value, (int, float)) else None for value in values])


def _json_record(file: str, number: int, line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} line {number}", error, "write the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} line {number}", error, "write one JSON object on each line") from error
    if not isinstance(record, dict):
        raise DataError(f"{file} line {number}", type(record).__name__, "write one JSON object on each line")
    return record


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} occurs twice")
    return record


def _json_column(file: str, name: str, values: list[object]) -> Column:
    """One column of one type; JSON objects and arrays become their JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds & {dict, list}:
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return arrow.from_bytes(_encoded(texts))
    if kinds == {str}:
        return arrow.from_bytes(_encoded([value if isinstance(value, str) else None for value in values]))
    if str in kinds:
        first = type(next(value for value in values if value is not None))
        index = next(i for i, value in enumerate(values) if value is not None and type(value) is not first)
        raise DataError(
            name,
            f"{values[index]!r} in record {index + 1} of {file}, where earlier records hold {first.__name__}",
            "give the column one type",
        )
    try:
        if kinds <= {bool} or kinds == {int}:
            return arrow.from_scalars(values)
        return arrow.from_scalars([float(value) if isinstance(value, (int, float)) else None for value in values])
    except OverflowError:
        # Too large for a number: kept as text, so that whoever needs a number there names the row.
        return arrow.from_bytes([None if value is None else str(value).encode() for value in values])


def _encoded(texts: list[str | None]) -> list[bytes | None]:
    # Lone surrogates pass here as invalid UTF-8 and are refused, with their row, when the text is decoded.
    return [None if text is None else text.encode("utf-8", "surrogatepass") for text in texts]
