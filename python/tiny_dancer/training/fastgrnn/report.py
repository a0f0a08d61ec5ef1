"""What a training run says of itself, phase by phase."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval


@dataclass(frozen=True, slots=True)
class Phase:
    """One row of the training table, on held-out rows.

    Attributes:
        name: of the phase.
        bytes: size of the artifact; None for a teacher, which is not exported.
        correct: held-out rows labelled rightly.
        rows: held-out rows.
        microseconds: for one prediction in the engine, from Python; None where there is no artifact.
        yardstick: the same as a multiple of numpy's (100, 384) @ (384,) in float32, timed in turn with it.
        epochs: run; 0 for what is not trained.
        note: what else there is to say.
    """

    name: str
    bytes: int | None
    correct: int
    rows: int
    microseconds: float | None
    yardstick: float | None
    epochs: int
    note: str = ""

    @property
    def accuracy(self) -> float:
        """Share of held-out rows labelled rightly."""
        return self.correct / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Clopper-Pearson)."""
        return exact_interval(self.correct, self.rows)


def timed(work: Sequence[Callable[[], object]]) -> tuple[float, float]:
    """Median microseconds a call over ``work``, and the median multiple of the yardstick, taken in turns."""
    matrix = np.random.default_rng(0).random((100, 384), np.float32)
    vector = matrix[0].copy()
    own, ratio = [], []
    for _ in range(9):
        yardstick = _per_call(lambda: matrix @ vector, 500)
        start = time.perf_counter()
        for call in work:
            call()
        own.append((time.perf_counter() - start) / len(work) * 1e6)
        ratio.append(own[-1] / yardstick)
    return median(own), median(ratio)


def _per_call(work: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls * 1e6


def training_table(phases: Sequence[Phase]) -> FittedTable:
    """The phases as a table for the terminal."""
    rows = []
    for phase in phases:
        low, high = phase.interval
        row = (
            phase.name,
            "" if phase.bytes is None else f"{phase.bytes:,}",
            f"{phase.accuracy:.4f}",
            f"{low:.4f}–{high:.4f}",
            "" if phase.microseconds is None else f"{phase.microseconds:.1f}",
            "" if phase.yardstick is None else f"{phase.yardstick:.1f}",
            str(phase.epochs or ""),
            phase.note,
        )
        rows.append(row)
    header = ("phase", "bytes", "accuracy", "interval", "µs", "× yardstick", "epochs", "note")
    return FittedTable(header, rows, "held-out rows, 95 % intervals", words=frozenset({0, 7}))


def verdict(chosen: str, difference: Interval) -> str:
    """Which model is written, and by how much it is better; ``difference`` is fastgrnn minus bag."""
    other = "bag of inputs" if chosen == "fastgrnn" else "fastgrnn"
    estimate, low, high = difference.estimate, difference.low, difference.high
    if chosen != "fastgrnn":
        estimate, low, high = -estimate, -high, -low
    certain = "" if low > 0 or high < 0 else "; the interval holds 0: either would do"
    interval = f"paired 95 % interval {low:+z.4f} to {high:+z.4f}"
    return f"{chosen} minus {other}: {estimate:+z.4f} accuracy, {interval}{certain}"


def correct_rows(logits: npt.NDArray[np.float32], label: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """1 where the highest logit is the label's, float64 [n]."""
    return np.asarray(logits.argmax(1) == label, np.float64)
