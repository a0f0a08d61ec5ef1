"""How long one classification takes: text → all answers, at four lengths; from Python, one thread.

    python benchmarks/micro/bench_tasks.py

Beside every figure its ratio to numpy's (100, 384) @ (384,) in float32, measured in the same rounds, so that it
says the same on a busy machine. Medians of rounds in which all take turns, and the least.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer.routing.tasks import TaskClassifier

if TYPE_CHECKING:
    from collections.abc import Callable

SENTENCE = "Explain how a heat pump warms a house in winter, and what it costs to run. "
CHARACTERS = (20, 76, 300, 2400)
ROUNDS, CALLS = 60, 20


def main() -> None:
    """Prints and writes the figures."""
    classifier = TaskClassifier.default()
    dice = np.random.default_rng(0)
    matrix = dice.standard_normal((100, 384), dtype=np.float32)
    vector = dice.standard_normal(384, dtype=np.float32)
    asked: dict[str, Callable[[], object]] = {"yardstick": lambda: matrix @ vector}
    for length in CHARACTERS:
        text = (SENTENCE * (length // len(SENTENCE) + 1))[:length]
        asked[f"{length:,} characters"] = lambda text=text: classifier.predict([text])
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, ask in asked.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                ask()
            taken[name].append((time.perf_counter() - begun) / CALLS * 1e6)
    yardstick = np.array(taken["yardstick"])
    figures: dict[str, Any] = {}
    for name, each in taken.items():
        figures[name] = {"median, us": round(float(np.median(each)), 2), "least, us": round(min(each), 2)}
        if name != "yardstick":
            figures[name]["x yardstick"] = round(float(np.median(np.array(each) / yardstick)), 1)
    write("tasks_speed", figures, "One classification of a task, whole answer as a Python object, single thread.")


if __name__ == "__main__":
    main()
