"""Workbooks of Excel (.xlsx) to columns; needs the extra `xlsx`."""

from __future__ import annotations

import datetime
import zipfile
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import DataError
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from pathlib import Path

# What a workbook may unpack to: a small file can hold a thousand times its size.
MOST_BYTES = 1 << 30
FAULTS = (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, EOFError, OSError, SyntaxError)


def sheet_rows(path: Path) -> tuple[list[str], list[list[object]]]:
    """The header and the rows of the one sheet that has cells; times become ISO text.

    Raises:
        MissingExtraError: openpyxl is not installed.
        DataError: no sheet with cells, more than one, or no workbook at all.
    """
    with needed():
        import openpyxl
    broken = "the file is no sound xlsx (truncated?): write it again"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > MOST_BYTES:
            raise DataError("table", f"{path.name} unpacks to {size >> 20:,} MiB", "save it as CSV")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            found = {sheet.title: _rows(sheet) for sheet in book.worksheets}
        finally:
            book.close()
    except FAULTS as error:
        raise DataError("table", f"{path.name}: {' '.join(str(error).split())}", broken) from error
    filled = {title: rows for title, rows in found.items() if rows}
    if len(filled) != 1:
        what = f"{len(filled)} sheets with cells: {', '.join(filled)}" if filled else "no sheet with cells"
        raise DataError("table", f"{path.name} has {what}", "keep the one sheet that is the table")
    header, *rows = next(iter(filled.values()))
    names = ["" if name is None else str(name) for name in header]
    while names and not names[-1] and all(row[len(names) - 1] is None for row in rows):
        names.pop()
    return names, [row[: len(names)] for row in rows]


def _rows(sheet: Any) -> list[list[object]]:
    """The sheet's rows of equal width, without those at the end that are empty."""
    rows = [[_value(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    width = max(map(len, rows), default=0)
    return [row + [None] * (width - len(row)) for row in rows]


def _value(cell: object) -> object:
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if cell is None or isinstance(cell, bool | int | float | str):
        return None if cell == "" else cell
    return str(cell)
