"""Makes the sample the package carries: real outcomes on MMLU and GSM8K questions as hashed features, no text.

Run: python recipes/bundled_sample.py (from the repository's root, with ../shared beside it).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tables import joined, table, with_
from tiny_dancer import _core
from tiny_dancer.training.data import write_featurised

OUT = Path(__file__).parents[1] / "python/tiny_dancer/data/sample.parquet"
ROWS = {"mmlu": 850, "gsm8k": 450}
LARGEST = 2 << 20


def main() -> None:
    """Draws whole groups in a fixed random order until a table's share is full."""
    parts = []
    for name, rows in ROWS.items():
        outcomes = table(name)
        order = np.random.default_rng(0).permutation(int(outcomes.group.max()) + 1)
        by_group = np.argsort(np.argsort(order)[outcomes.group], kind="stable")
        parts.append(outcomes.rows(np.sort(by_group[:rows])))
    sample = joined(parts)
    sample = with_(sample, prompt=None, messages=None, tools=None)
    write_featurised(sample, OUT, feature_spec=_core.feature_spec())
    size = OUT.stat().st_size
    assert size <= LARGEST, f"{size:,} bytes exceed {LARGEST:,}"
    print(f"{OUT}: {len(sample):,} rows, {size:,} bytes")


if __name__ == "__main__":
    main()
