"""The typed door to pyarrow, which carries no types of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.extras import needed

with needed():
    import pyarrow
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.interchange
    import pyarrow.parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer.training.data.text import Dialect

# pyarrow has no stubs: a column stays opaque outside this file.
Column: TypeAlias = Any

# OSError: pyarrow reports truncated and corrupt pages with it.
READ_FAULTS: tuple[type[Exception], ...] = (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError)

# Bytes the wanted columns of one Parquet file may take once they are read: a small file can ask for any amount.
MOST_BYTES = 2 << 30
# Bytes read at once, were every value as long as the longest can be.
BATCH_BYTES = 256 << 20

# One CSV record must fit in a block.
CSV_BLOCK_BYTES = 64 << 20


def parquet_columns(
    path: Path, wanted: Callable[[str], bool]
) -> tuple[list[str], dict[str, Column], dict[str, str], int]:
    """All column names, the wanted columns, the schema metadata and the number of rows."""
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        names: list[str] = list(schema.names)
        metadata = {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for key, value in (schema.metadata or {}).items()
        }
        chosen = [name for name in names if wanted(name)]
        rows: int = file.metadata.num_rows
        if len(set(names)) < len(names):
            return names, {}, metadata, rows
    return names, _bounded(path, chosen), metadata, rows


def _bounded(path: Path, chosen: Sequence[str]) -> dict[str, Column]:
    """The chosen columns, refused before they take more than ``MOST_BYTES``.

    What a row group declares is asked before it is read. What it does not declare, a value stored once that stands
    in every row, is counted in dictionaries before they are resolved, or else found a few rows at a time: fewer
    the longer a value can be.
    """
    parts: dict[str, list[Column]] = {name: [] for name in chosen}
    taken = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=_dictionaries(path, chosen)) as file:
        schema = file.schema_arrow
        for index in range(file.metadata.num_row_groups if chosen else 0):
            declared = file.metadata.row_group(index)
            stored = [declared.column(at) for at in range(declared.num_columns)]
            sizes = [
                max(each.total_uncompressed_size, each.num_values)
                for each in stored
                # The path of a column that is no nested one is its name, which may have dots.
                if each.path_in_schema in parts or each.path_in_schema.split(".")[0] in parts
            ]
            _refuse_above(path, taken + max(sum(sizes), declared.num_rows * len(chosen)))
            rows = min(4096, max(16, BATCH_BYTES // max(1, *sizes)))
            read: dict[str, list[Column]] = {name: [] for name in chosen}
            for batch in file.iter_batches(rows, row_groups=[index], columns=list(chosen), use_threads=False):
                for name in chosen:
                    column = batch.column(batch.schema.get_field_index(name))
                    size = _decoded_bytes(column)
                    taken += size
                    _refuse_above(path, taken)
                    # Each batch holds the whole dictionary: longer than its rows where these are all different.
                    whole = pyarrow.types.is_dictionary(column.type) and size > column.dictionary.nbytes
                    read[name].append(column if whole else combined(column))
            for name, columns in read.items():
                parts[name] += map(combined, columns)
    return {
        name: combined(pyarrow.chunked_array(chunks, type=None if chunks else schema.field(name).type))
        for name, chunks in parts.items()
    }


def _dictionaries(path: Path, chosen: Sequence[str]) -> list[str]:
    """Columns of strings that lie in the file as dictionaries throughout."""
    with pyarrow.parquet.ParquetFile(path) as file:
        found = {name for name in chosen if is_text(pyarrow.array([], file.schema_arrow.field(name).type))}
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            for column in map(group.column, range(group.num_columns)):
                if not any("DICTIONARY" in each for each in column.encodings) or any(
                    "DELTA" in each for each in column.encodings
                ):
                    found.discard(column.path_in_schema)
    return sorted(found)


def _decoded_bytes(column: Column) -> int:
    """Bytes of a column, a dictionary resolved."""
    if not pyarrow.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pyarrow.compute.binary_length(column.dictionary).cast(pyarrow.int64())
    return int(pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0)


def _refuse_above(path: Path, taken: int) -> None:
    if taken > MOST_BYTES:
        raise DataError(
            "table",
            f"{path.name} takes {taken / (1 << 30):.1f} GiB once it is read",
            f"a file may take {MOST_BYTES >> 30} GiB: split it, or leave columns out",
        )


def csv_columns(
    path: Path, wanted: Callable[[str], bool], dialect: Dialect
) -> tuple[list[str], dict[str, Column], int]:
    """All column names, the wanted columns as raw bytes in UTF-8 (nothing inferred), the number of rows."""
    read = pyarrow.csv.ReadOptions(
        block_size=CSV_BLOCK_BYTES,
        use_threads=False,
        skip_rows=dialect.skipped,
        encoding="utf8" if dialect.encoding in ("utf-8", "utf-8-sig") else dialect.encoding,
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, delimiter=dialect.delimiter)
    with pyarrow.input_stream(str(path), compression="detect") as stream:
        names: list[str] = list(pyarrow.csv.open_csv(stream, read, parse).schema.names)
    chosen = [name for name in names if wanted(name)]
    if not chosen or len(set(names)) < len(names):
        return names, {}, 0
    convert = pyarrow.csv.ConvertOptions(
        include_columns=chosen,
        column_types={name: pyarrow.binary() for name in chosen},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
        check_utf8=False,
    )
    with pyarrow.input_stream(str(path), compression="detect") as stream:
        table = pyarrow.csv.read_csv(stream, read, parse, convert)
    columns = {name: combined(table.column(name)) for name in chosen}
    rows = _filled_rows(columns.values(), table.num_rows)
    return names, {name: column.slice(0, rows) for name, column in columns.items()}, rows


def _filled_rows(columns: Iterable[Column], rows: int) -> int:
    """How many rows there are without those at the end that Excel writes for cells once used."""
    filled = np.zeros(rows, bool)
    for column in columns:
        filled |= np.asarray(column.is_valid())
    return int(np.flatnonzero(filled)[-1]) + 1 if filled.any() else rows


def frame_columns(
    frame: object, wanted: Callable[[str], bool]
) -> tuple[list[str], dict[str, Column], dict[str, str], int]:
    """The columns of a table in memory: whatever speaks Arrow's C interface or the interchange protocol.

    Raises:
        DataError: what it holds has no Arrow type.
    """
    try:
        if hasattr(frame, "__arrow_c_stream__"):
            table = pyarrow.RecordBatchReader.from_stream(frame).read_all()
        elif hasattr(frame, "__arrow_c_array__"):
            table = pyarrow.table(frame)
        else:
            table = pyarrow.interchange.from_dataframe(frame)
    except (pyarrow.ArrowException, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            "table", f"{type(frame).__name__}: {reason}", "give each column one type and a name of its own"
        ) from error
    names: list[str] = [str(name) for name in table.schema.names]
    metadata = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in (table.schema.metadata or {}).items()
    }
    if len(set(names)) < len(names):
        return names, {}, metadata, table.num_rows
    chosen = {name: combined(table.column(place)) for place, name in enumerate(names) if wanted(name)}
    return names, chosen, metadata, table.num_rows


def frame_matrix(frame: object) -> tuple[tuple[str, ...], npt.NDArray[np.float64]] | None:
    """Names and numbers, float64 [n, m], of a table in memory, null as NaN; None where it is no table."""
    if not hasattr(frame, "columns") and not hasattr(frame, "schema"):
        return None
    if not (hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__dataframe__")):
        return None
    names, columns, _, rows = frame_columns(frame, lambda name: name != "__index_level_0__")
    chosen = [name for name in names if name in columns]
    for name in chosen:
        if not is_number(columns[name]) and not is_null(columns[name]):
            raise DataError(name, f"type {type_name(columns[name])}", "give one column of numbers a model")
    values = [as_floats(columns[name]) for name in chosen]
    return tuple(chosen), np.column_stack(values) if values else np.empty((rows, 0))


def column_texts(column: object) -> list[Any] | None:
    """The values of a column of Arrow; None where it is none."""
    if isinstance(column, pyarrow.Array | pyarrow.ChunkedArray):
        return as_python(column)
    return None


def combined(column: Column) -> Column:
    """The chunks of a column as one array, with dictionaries resolved."""
    array = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    if isinstance(array, pyarrow.ChunkedArray):
        array = pyarrow.concat_arrays(array.chunks)
    if pyarrow.types.is_dictionary(array.type):
        array = _without_views(array.dictionary).take(array.indices)
    array = _without_views(array)
    return array.storage if isinstance(array, pyarrow.ExtensionArray) else array


def _without_views(array: Column) -> Column:
    """Texts of polars are views, of which few functions of pyarrow know."""
    if pyarrow.types.is_string_view(array.type):
        return array.cast(pyarrow.large_string())
    return array.cast(pyarrow.large_binary()) if pyarrow.types.is_binary_view(array.type) else array


def from_bytes(values: Sequence[bytes | None]) -> Column:
    """A column of byte strings."""
    return pyarrow.array(values, pyarrow.large_binary())


def from_texts(values: Sequence[str | None]) -> Column:
    """A column of strings, or nulls."""
    return pyarrow.array(values, pyarrow.large_string())


def numbered(columns: Sequence[Column]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each row's number, equal where all columns are, as they appear; and the first row of each number."""
    numbers = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(min(1, len(numbers)), np.int64)
    for column in columns:
        codes = np.asarray(column.dictionary_encode(null_encoding="encode").indices, np.int64)
        _, first, numbers = np.unique(
            numbers * (codes.max(initial=0) + 1) + codes, return_index=True, return_inverse=True
        )
    rank = np.empty(len(first), np.int64)
    order = np.argsort(first, kind="stable")
    rank[order] = np.arange(len(first))
    return rank[numbers], first[order]


def from_scalars(values: Sequence[object]) -> Column:
    """A column of numbers or booleans; the type is found from the values."""
    return pyarrow.array(values)


def is_text(column: Column) -> bool:
    """Whether the column holds strings (or bytes that should be UTF-8)."""
    kinds = pyarrow.types
    kind = column.type
    return bool(
        kinds.is_string(kind)
        or kinds.is_large_string(kind)
        or kinds.is_string_view(kind)
        or kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_binary_view(kind)
    )


def is_integer(column: Column) -> bool:
    """Whether the column holds integers."""
    return bool(pyarrow.types.is_integer(column.type))


def is_floating(column: Column) -> bool:
    """Whether the column holds floating-point numbers."""
    return bool(pyarrow.types.is_floating(column.type))


def is_number(column: Column) -> bool:
    """Whether the column holds numbers or booleans."""
    kinds = pyarrow.types
    kind = column.type
    return bool(
        kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind)
    )


def is_null(column: Column) -> bool:
    """Whether the column has no type because it has no value."""
    return bool(pyarrow.types.is_null(column.type))


def is_nested(column: Column) -> bool:
    """Whether the column holds lists or structs."""
    return bool(pyarrow.types.is_nested(column.type))


def type_name(column: Column) -> str:
    """The column's type, for messages."""
    return str(column.type)


def as_bytes(column: Column) -> list[bytes | None]:
    """The raw bytes of a text column; nothing is decoded."""
    values: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return values


def is_utf8(column: Column) -> bool:
    """Whether all of a text column is UTF-8."""
    try:
        column.cast(pyarrow.large_binary()).cast(pyarrow.large_string())
    except pyarrow.ArrowInvalid:
        return False
    return True


def as_texts(column: Column) -> list[str | None] | None:
    """A text column's values; None where some are not UTF-8."""
    try:
        texts: list[str | None] = column.cast(pyarrow.large_binary()).cast(pyarrow.large_string()).to_pylist()
    except pyarrow.ArrowInvalid:
        return None
    return texts


def parsed_numbers(column: Column, decimal_comma: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The numbers of a text column that are written plainly, and the rows that hold anything else.

    Missing rows are NaN, and no such row. With ``decimal_comma`` a comma stands for the point, unless the column
    has points too.
    """
    compute = pyarrow.compute
    text = column.cast(pyarrow.large_binary()).cast(pyarrow.large_string())
    text = compute.ascii_trim(text, " \t\r\n")
    if decimal_comma and not compute.any(compute.match_substring(text, ".")).as_py():
        written = compute.match_substring_regex(text, r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$")
        text = compute.if_else(written, compute.replace_substring(text, ",", "."), text)
    plain = compute.match_substring_regex(text, r"^-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$")
    numbers = compute.cast(compute.if_else(plain, text, None), pyarrow.float64())
    values = np.array(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)
    other = compute.and_(compute.invert(compute.fill_null(plain, False)), column.is_valid())
    return values, np.flatnonzero(np.asarray(other))


def chosen_rows(column: Column, rows: npt.NDArray[np.int64]) -> Column:
    """The rows of a column at these places."""
    return column.take(pyarrow.array(rows))


def as_python(column: Column) -> list[Any]:
    """The column's values as Python objects."""
    values: list[Any] = column.to_pylist()
    return values


def as_seconds(column: Column) -> npt.NDArray[np.float64] | None:
    """A column of dates or timestamps in seconds since 1970, null as NaN; None where it is neither."""
    kinds = pyarrow.types
    if not (kinds.is_timestamp(column.type) or kinds.is_date(column.type)):
        return None
    zone = getattr(column.type, "tz", None)
    moments = column.cast(pyarrow.timestamp("us", zone), safe=False).cast(pyarrow.int64())
    return as_floats(moments) / 1e6


def as_floats(column: Column) -> npt.NDArray[np.float64]:
    """The column as float64, null as NaN."""
    if pyarrow.types.is_boolean(column.type):
        column = column.cast(pyarrow.uint8())
    floats = column.cast(pyarrow.float64(), safe=False)
    return np.array(floats.to_numpy(zero_copy_only=False), dtype=np.float64)


def as_lists(column: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]] | None:
    """Offsets and flat values of a list column of numbers; None where it is anything else or has nulls."""
    kinds = pyarrow.types
    if not (kinds.is_list(column.type) or kinds.is_large_list(column.type)) or column.null_count:
        return None
    flat = column.flatten()
    if flat.null_count or not kinds.is_primitive(flat.type):
        return None
    lengths = np.asarray(pyarrow.compute.list_value_length(column), dtype=np.int64)
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), np.asarray(flat)


def as_fixed_bytes(column: Column) -> npt.NDArray[np.uint8] | None:
    """A fixed-size binary column as uint8 [rows, width]; None where it is anything else or has nulls."""
    if not pyarrow.types.is_fixed_size_binary(column.type) or column.null_count:
        return None
    width: int = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], np.uint8)
    start = column.offset * width
    return data[start : start + len(column) * width].reshape(len(column), width)


def fixed_bytes(values: npt.NDArray[np.uint8]) -> Column:
    """A fixed-size binary column from uint8 [rows, width]."""
    buffer = pyarrow.py_buffer(np.ascontiguousarray(values).tobytes())
    return pyarrow.FixedSizeBinaryArray.from_buffers(pyarrow.binary(values.shape[1]), len(values), [None, buffer])


def lists(offsets: npt.NDArray[np.int64], flat: npt.NDArray[Any]) -> Column:
    """A list column from offsets and flat values."""
    return pyarrow.LargeListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(flat))


def numbers(values: npt.NDArray[Any]) -> Column:
    """A column of numbers, NaN as null."""
    mask = np.isnan(values) if values.dtype.kind == "f" else None
    return pyarrow.array(values, mask=mask)


def strings(values: Sequence[str]) -> Column:
    """A column of strings."""
    return pyarrow.array(values, pyarrow.string())


def printable(column: Column) -> Column | None:
    """The column with bytes as text and no number that JSON lacks; None where some text is not UTF-8."""
    if is_text(column):
        try:
            return column.cast(pyarrow.large_binary()).cast(pyarrow.large_string())
        except pyarrow.ArrowInvalid:
            return None
    if is_floating(column):
        column = column.cast(pyarrow.float64())
        return pyarrow.compute.if_else(pyarrow.compute.is_finite(column), column, None)
    return column


def parquet_bytes(columns: Mapping[str, Column], metadata: Mapping[str, str]) -> bytes:
    """The content of a Parquet file."""
    schema = pyarrow.schema([(name, column.type) for name, column in columns.items()], dict(metadata))
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(list(columns.values()), schema=schema), stream)
    content: bytes = stream.getvalue().to_pybytes()
    return content


def csv_bytes(columns: Mapping[str, Column], delimiter: str) -> bytes:
    """The content of a file of delimited text in UTF-8."""
    stream = pyarrow.BufferOutputStream()
    options = pyarrow.csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
    pyarrow.csv.write_csv(pyarrow.Table.from_arrays(list(columns.values()), list(columns)), stream, options)
    content: bytes = stream.getvalue().to_pybytes()
    return content


def plain_numbers(column: Column, decimal_comma: bool, missing: Collection[str]) -> Column | None:
    """A text column as numbers, where every cell is one, or ``missing``, written as they are; None otherwise."""
    compute = pyarrow.compute
    if not is_text(column) or not is_utf8(column) or column.null_count == len(column):
        return None
    values, other = parsed_numbers(column, decimal_comma)
    padded = compute.match_substring_regex(
        column.cast(pyarrow.large_binary()).cast(pyarrow.large_string()), r"^-?0[0-9]"
    )
    rest = as_texts(chosen_rows(column, other)) or []
    if any((text or "").strip().lower() not in missing for text in rest) or compute.any(padded).as_py():
        return None
    return numbers(values)


def write_parquet(
    path: Path,
    columns: Mapping[str, Column],
    metadata: Mapping[str, str],
    encodings: Mapping[str, str],
    dictionaries: Sequence[str],
) -> None:
    """Writes one Parquet file as small as it goes: zstd at level 19, no statistics, no Arrow schema copy."""
    schema = pyarrow.schema([(name, column.type) for name, column in columns.items()], dict(metadata))
    table = pyarrow.Table.from_arrays(list(columns.values()), schema=schema)
    pyarrow.parquet.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=list(dictionaries),
        column_encoding=dict(encodings),
        write_statistics=False,
        data_page_size=16 << 20,
    )
