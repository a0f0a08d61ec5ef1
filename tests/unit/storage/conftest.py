"""A database file to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.storage.databases import fill

from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as opened:
        fill(opened)
    return path
