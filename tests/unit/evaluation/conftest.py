"""The shared tables as arrays, where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from .tables import features_of, make_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer.types import Outcomes


@pytest.fixture(scope="session")
def real_table(shared_data: Path) -> Callable[[str], Outcomes]:
    """Reads a shared table with stand-in features; skips where the shared tables are absent."""

    def read(name: str) -> Outcomes:
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(shared_data / f"{name}.parquet").to_pydict()
        other = {"sample_id", "eval_name", "prompt", "tools", "weight", "group"}
        models = tuple(c for c in table if c not in other and "|" not in c)
        quality = np.array([table[m] for m in models], dtype=np.float64).T
        prompts = tuple(table["prompt"])
        return make_outcomes(quality, models=models, task=tuple(table["eval_name"]), features=features_of(prompts))

    return read
