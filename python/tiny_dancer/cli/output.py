"""What commands print: data to standard output, everything else to standard error."""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tiny_dancer import files
from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def printable(line: str) -> str:
    """One line, whatever a file's name, a cell or a memory holds: no line breaks, no terminal codes."""
    return "".join(each if each.isprintable() else " " for each in line)


def warn(line: str) -> None:
    """One :func:`printable` line to standard error."""
    print(printable(line), file=sys.stderr)


def console() -> Console:
    """Standard output: as wide as the terminal or as ``COLUMNS`` says, else of 110 columns."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110)


def say(*lines: str) -> None:
    """Lines on standard output, as they are: not wrapped, not coloured."""
    for line in lines:
        print(line)


def plain(value: Any) -> Any:
    """``value`` as JSON values: dataclasses and structs become objects, NaN becomes null."""
    if is_dataclass(value) or isinstance(value, msgspec.Struct):
        return plain(msgspec.to_builtins(value))
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    """``value`` as indented JSON on standard output."""
    sys.stdout.write(as_json(value))


def as_json(value: Any) -> str:
    """``value`` as indented JSON, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode() + "\n"


_DATABASE = b"SQLite format 3\0"


def check_target(path: Path) -> None:
    """Refuses a path no file can have, before long work rather than after it; and a database, which no result is
    worth.

    Raises:
        OptionError: the folder is missing, or the path is a folder or a database.
    """
    if path.is_dir():
        raise OptionError("out", f"{path} is a folder", "give the path of a file")
    if not path.parent.is_dir():
        raise OptionError("out", path, "write to a folder that exists")
    if _is_database(path):
        raise OptionError("out", f"{path} is a database", "write to another file, or remove it first")


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False


def check_table(path: Path, option: str = "out") -> None:
    """Refuses a path that no table can have, before long work rather than after it.

    Raises:
        OptionError: as :func:`check_target`; or the name does not say what to write.
    """
    from tiny_dancer.training.data.write import check_suffix

    check_suffix(path, option)
    check_target(path)


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes columns of Arrow as what the path's suffix says."""
    from tiny_dancer.training.data.write import table_bytes

    write_file(path, table_bytes(path, columns))


def write_file(path: Path, content: bytes) -> None:
    """Writes the whole file or nothing; see :func:`tiny_dancer.files.write`."""
    check_target(path)
    files.write(path, content)


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on standard error; a call advances it by one step, named by its argument."""
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("training", total=total)
        yield lambda step: bar.update(task, advance=1, description=step)
