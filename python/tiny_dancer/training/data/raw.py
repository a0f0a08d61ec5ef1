"""Files to raw columns: Parquet, CSV and JSONL, told apart by suffix."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiny_dancer import files
from tiny_dancer.errors import DataError
from tiny_dancer.training.data import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.training.data.arrow import Column

# gzip raises the last two on truncated and damaged streams.
READ_FAULTS: tuple[type[Exception], ...] = (*arrow.READ_FAULTS, EOFError, zlib.error)
FORMATS = ".parquet, .csv, .csv.gz, .jsonl or .jsonl.gz"


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
    """

    name: str
    stem: str
    names: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: int
    metadata: Mapping[str, str]


def read_raw(path: Path | str, wanted: Callable[[str], bool]) -> RawTable:
    """Reads the columns of one file whose names are ``wanted``; the others are never read.

    Raises:
        DataError: no such file, unknown suffix, or bytes that are not what the suffix says.
    """
    path = Path(path)
    try:
        files.check(path)
    except OSError as error:
        raise not_readable(path, error) from error
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-1] if suffixes else ""
    stem = path.name[: -len(kind)] if kind else path.name
    if kind == ".gz":
        kind = suffixes[-2] if len(suffixes) > 1 else ""
        stem = stem[: -len(kind)] if kind else stem
        if kind == ".parquet":
            raise DataError("table", path.name, "Parquet is compressed inside: gunzip it")
    if path.stat().st_size == 0:
        raise DataError("table", path.name, "the file is empty: write it again")
    metadata: dict[str, str] = {}
    try:
        if kind == ".parquet":
            names, columns, metadata, rows = arrow.parquet_columns(path, wanted)
        elif kind == ".csv":
            names, columns, rows = arrow.csv_columns(path, wanted)
        elif kind in (".jsonl", ".ndjson"):
            names, columns, rows = _json_lines(path, wanted)
        else:
            raise DataError("table", path.name, f"use {FORMATS}")
    except READ_FAULTS as error:
        reason = " ".join(str(error).split())
        raise DataError(
            "table", f"{path.name}: {reason}", f"the file is no sound {kind[1:]} (truncated?): write it again"
        ) from error
    for name in names:
        if names.count(name) > 1:
            raise DataError(name, f"more than one column of {path.name}", "rename or drop all but one")
    return RawTable(path.name, stem, tuple(names), columns, rows, metadata)


def not_readable(path: Path, error: OSError) -> DataError:
    """What is raised where a table's file cannot be opened."""
    nothing = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    return DataError("table", path, f"{'no such file' if nothing else error.strerror}: check the path")


def _json_lines(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], dict[str, Column], int]:
    """All keys as they appear, the wanted ones as columns (absent is null), the number of lines."""
    columns: dict[str, list[object]] = {}
    names: dict[str, None] = {}
    rows = 0
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            record = _json_record(path.name, number, line)
            for name, value in record.items():
                names[name] = None
                if wanted(name):
                    columns.setdefault(name, [None] * rows).append(value)
            rows += 1
            for values in columns.values():
                if len(values) < rows:
                    values.append(None)
    return (
        list(names),
        {name: _json_column(path.name, name, values) for name, values in columns.items()},
        rows,
    )


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
