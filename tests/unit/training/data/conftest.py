from __future__ import annotations

import csv
import json
import re
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiny_dancer.errors import DataError
from tiny_dancer.training.data import read_outcomes
from tiny_dancer.types import FeatureTable, Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WORD = re.compile(r"\w+|[^\w\s]")


def hashed_features(
    prompts: Sequence[str],
    messages: Sequence[str | None] | None = None,
    tools: Sequence[str | None] | None = None,
) -> FeatureTable:
    """A readable stand-in for the engine's featuriser: hashed word 1-2-grams and character 3-4-grams."""
    rows = []
    lengths = []
    for prompt in prompts:
        words = WORD.findall(prompt.lower())
        text = f" {' '.join(words)} "
        ids = {zlib.crc32(word.encode()) & 0x1FFFF for word in words}
        ids |= {zlib.crc32(f"{a} {b}".encode()) & 0x1FFFF for a, b in pairwise(words)}
        for size in (3, 4):
            grams = {text[start : start + size] for start in range(len(text) - size + 1)}
            ids |= {(zlib.crc32(gram.encode()) & 0x1FFFF) + 0x20000 for gram in grams}
        rows.append(np.array(sorted(ids), np.uint32))
        lengths.append(len(words))
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    cues = np.array([[length, np.sqrt(length), length % 7] for length in lengths], np.float32)
    embedding = np.zeros((len(rows), 256), np.int8)
    embedding[:, 0] = np.array(lengths) % 100 - 50
    return FeatureTable(
        offsets, np.concatenate([*rows, np.empty(0, np.uint32)]), cues, embedding, np.array(lengths, np.int32)
    )


@pytest.fixture(scope="session")
def featurise() -> Callable[..., FeatureTable]:
    return hashed_features


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes columns to a file of the format its suffix names."""

    def write_table(columns: dict[str, list[Any]], name: str = "table.parquet") -> Path:
        path = tmp_path / name
        rows = list(zip(*columns.values(), strict=True))
        if path.suffix == ".parquet":
            pq.write_table(pa.table(columns), path)
        elif path.suffix == ".csv":
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(["" if value is None else value for value in row] for row in rows)
        else:
            lines = [json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows]
            path.write_text("".join(lines))
        return path

    return write_table


@pytest.fixture
def make_outcomes() -> Callable[..., Outcomes]:
    """Outcomes from quality and whatever else is given; prompts are numbered sentences."""

    def build(quality: Any, prompts: Sequence[str] | None = None, **given: Any) -> Outcomes:
        values = np.asarray(quality, float)
        rows, models = values.shape
        texts = tuple(prompts) if prompts is not None else tuple(f"request {row}" for row in range(rows))
        defaults: dict[str, Any] = {
            "sample_id": tuple(f"s{row}" for row in range(rows)),
            "task": ("",) * rows,
            "models": tuple("abcdefghijkl"[:models]),
            "cost": None,
            "latency": None,
            "weight": np.ones(rows),
            "group": np.arange(rows),
            "prompt": texts,
            "features": hashed_features(texts),
        }
        return Outcomes(quality=values, **{**defaults, **given})

    return build


@pytest.fixture
def refuse() -> Callable[..., DataError]:
    """Reading these paths raises a DataError about ``field`` that says all of ``words``."""

    def refuse_paths(paths: Sequence[Path], field: str, *words: str, **options: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read_outcomes(paths, **options)
        error = caught.value
        assert error.field == field, str(error)
        assert error.remedy
        for word in words:
            assert word in str(error), str(error)
        return error

    return refuse_paths
