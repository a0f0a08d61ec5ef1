"""How long `import tiny_dancer` takes beyond numpy's import: at most 60 ms is asked.

    python benchmarks/micro/bench_import.py

Each figure is the median of fresh interpreters, taken in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write

REPEATS = 15
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Import time of a module in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED.format(module)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    seconds("tiny_dancer")  # writes the byte code
    pairs = [(seconds("numpy"), seconds("tiny_dancer")) for _ in range(REPEATS)]
    numpy, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    figures = {"numpy_ms": numpy, "tiny_dancer_ms": ours, "beyond_numpy_ms": ours - numpy}
    write(
        "import", {name: round(value * 1e3, 1) for name, value in figures.items()}, "Target: 60 ms beyond numpy."
    )


if __name__ == "__main__":
    main()
