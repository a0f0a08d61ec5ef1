from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.commands import write
from tests.unit.training.candidates.conversations import conversations

from tiny_dancer.training.candidates.data import read_memories, read_questions

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.training.candidates.data import Memories, Questions


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Memories and questions of three conversations."""
    folder = tmp_path_factory.mktemp("conversations")
    memories, questions = conversations(("a", "b", "c"))
    return write(memories, folder / "memories.parquet"), write(questions, folder / "questions.parquet")


@pytest.fixture(scope="session")
def read(tables: tuple[Path, Path]) -> tuple[Memories, Questions]:
    memories = read_memories(tables[0])
    return memories, read_questions(tables[1], memories)
