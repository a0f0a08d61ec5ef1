"""Tables of our own making, and the artifacts trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.commands import columns, done, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables to train on (in four forms) and to judge on, and the artifact of each form."""
    place = tmp_path_factory.mktemp("cli")
    table = columns(80, 1)
    for suffix in ("csv", "jsonl", "parquet"):
        write(table, place / f"train.{suffix}")
    write(columns(400, 2), place / "rest.parquet")
    done("data", "featurise", place / "train.csv", "--out", place / "hashed.parquet")
    done("data", "featurise", place / "rest.parquet", "--out", place / "rest-hashed.parquet")
    for name in ("train.csv", "train.jsonl", "train.parquet", "hashed.parquet"):
        done("train", place / name, "--out", place / f"{name}.safetensors", "--seed", 5, "--policy", "cheapest")
    return place


@pytest.fixture(scope="session")
def artifact(folder: Path) -> Path:
    return folder / "train.parquet.safetensors"
