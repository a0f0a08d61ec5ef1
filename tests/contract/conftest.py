"""Every implementation of a protocol, for the suites that all of them must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.postgres import emptied

from tiny_dancer.storage import MemoryStorage, SqliteStorage, Storage, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPENERS: dict[str, Callable[[Path], Storage]] = {
    "memory": lambda folder: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "agent.db"),
    "sqlite without mirror": lambda folder: SqliteStorage(folder / "agent.db", mirror=False),
    "postgres": lambda folder: open_storage(emptied()),
}


@pytest.fixture(params=OPENERS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    with OPENERS[request.param](tmp_path) as opened:
        yield opened


# Those of which a property is compared with the memory's: their statements are their own.
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgres"])
