"""The table of money of a database, in this process: one for all who count by it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from tiny_dancer.budgets.money import MoneyTable, shared

if TYPE_CHECKING:
    from tiny_dancer.storage.budgets import BudgetStorage


class Till:
    """The table of one database in this process, for all :class:`~tiny_dancer.Budgets` over it."""

    def __init__(self, storage: BudgetStorage, place: object) -> None:
        path, content = storage.budget_table()
        self.storage = storage  # so that no other gets its id
        self.place = place
        self.users = 0
        self.drawing = threading.Lock()
        if path is None or os.name == "nt":
            self.table = MoneyTable()
        else:
            self.table = shared(path, content)
            try:
                self.table.take_seat()
            except BaseException:
                self.table.close()
                raise

    def leave(self) -> None:
        """Closes the table with the last that counts by it."""
        with _opening:
            self.users -= 1
            if not self.users:
                _tills.pop(self.place, None)
                self.table.close()


_opening = threading.Lock()
_tills: dict[object, Till] = {}


def till(storage: BudgetStorage) -> Till:
    """That of a database: a process may not open its table twice, for closing one would end the locks of both."""
    with _opening:
        path, content = storage.budget_table()
        place = (os.getpid(), path or id(storage), content)
        found = _tills.get(place)
        if found is not None and not found.table.is_in_place():
            # Deleted: who comes now counts by a new one, and both draw from one ledger.
            del _tills[place]
            found.place = object()
            found = None
        if found is None:
            found = _tills[place] = Till(storage, place)
        found.users += 1
        return found
