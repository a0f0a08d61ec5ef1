"""Storages that the doors stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tiny_dancer.storage import MemoryStorage, SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tiny_dancer.storage import Storage


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    with MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "agent.db") as opened:
        yield opened
