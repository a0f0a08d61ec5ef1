"""A function that gives rows, as a table of SQLite whose hidden columns are its arguments; for apsw.

apsw's own (``apsw.ext.make_virtual_module``) leaves arguments out where SQLite offers to join a table in front of
the one they come from. This one refuses such a plan, so that ``FROM asked, tiny_dancer_decide(asked.text)`` works.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["register_table"]

_ROWS = 25
"""Guessed: most functions give one row, some give a list."""


def register_table(
    connection: apsw.Connection, name: str, columns: Sequence[str], rows: Callable[..., Iterator[Sequence[Any]]]
) -> None:
    """Makes a table known to a connection; registering again replaces it.

    Args:
        connection: of apsw.
        name: of the table.
        columns: of each row.
        rows: gives them. Its parameters are hidden columns; those without a default have to be given.
    """
    connection.create_module(
        name,
        _Module(columns, rows),  # type: ignore[arg-type]  # of the protocol it has what an eponymous table needs
        use_bestindex_object=True,
        eponymous=True,
        eponymous_only=True,
        read_only=True,
    )


class _Module:
    """The table and its module in one: there is one of each."""

    def __init__(self, columns: Sequence[str], rows: Callable[..., Iterator[Sequence[Any]]]) -> None:
        parameters = inspect.signature(rows).parameters.values()
        self.rows = rows
        self.width = len(columns)
        self.parameters = [each.name for each in parameters]
        self.required = {each.name for each in parameters if each.default is inspect.Parameter.empty}
        hidden = [f"{each} HIDDEN" for each in self.parameters]
        self.schema = f"CREATE TABLE given ({', '.join([*columns, *hidden])})"

    def Connect(self, connection: apsw.Connection, *_: object) -> tuple[str, _Module]:  # noqa: N802
        # It reads and changes nothing but its arguments.
        connection.vtab_config(apsw.SQLITE_VTAB_INNOCUOUS)
        return self.schema, self

    def BestIndexObject(self, plan: apsw.IndexInfo) -> bool:  # noqa: N802
        """Takes a plan in which all arguments are known before the rows; others cannot be carried out."""
        given: list[str] = []
        for place in range(plan.nConstraint):
            column = plan.get_aConstraint_iColumn(place) - self.width
            if column < 0:
                continue
            name = self.parameters[column]
            equal = plan.get_aConstraint_op(place) == apsw.SQLITE_INDEX_CONSTRAINT_EQ
            if not equal or not plan.get_aConstraint_usable(place) or name in given:
                return False
            given.append(name)
            plan.set_aConstraintUsage_argvIndex(place, len(given))
            plan.set_aConstraintUsage_omit(place, True)
        if not self.required <= set(given):
            return False
        plan.idxStr = ",".join(given)
        plan.estimatedRows = _ROWS
        plan.estimatedCost = float(_ROWS)
        return True

    def Open(self) -> _Cursor:  # noqa: N802
        return _Cursor(self)

    def Disconnect(self) -> None:  # noqa: N802
        pass

    Destroy = Disconnect


class _Cursor:
    def __init__(self, table: _Module) -> None:
        self._table = table
        self._given: dict[str, Any] = {}
        self._rows: Iterator[Sequence[Any]] = iter(())
        self._row: Sequence[Any] | None = None
        self._number = 0

    def Filter(self, _: int, names: str, values: Sequence[Any]) -> None:  # noqa: N802
        self._given = dict(zip(names.split(","), values, strict=False))
        self._rows = self._table.rows(**self._given)
        self._number = 0
        self.Next()

    def Next(self) -> None:  # noqa: N802
        self._row = next(self._rows, None)
        self._number += 1

    def Eof(self) -> bool:  # noqa: N802
        return self._row is None

    def Column(self, column: int) -> Any:  # noqa: N802
        if column < 0:
            return self._number
        if column < self._table.width:
            assert self._row is not None
            return self._row[column]
        return self._given.get(self._table.parameters[column - self._table.width])

    def Rowid(self) -> int:  # noqa: N802
        return self._number

    def Close(self) -> None:  # noqa: N802
        self._row = None
