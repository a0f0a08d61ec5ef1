"""FastGRNN and classifiers: as ratios to numpy's (100, 384) @ (384,) in float32, measured in the same run.

The engine is called for 32 inputs at a time, on one thread, and the time divided by 32: what is left of the call
beside the cell is the copy of the input, the head and the softmax.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer import Classifier, _core
from tiny_dancer.cli.bench import LONG, SHORT

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = ("f32", "int8", "int4", "sparse f32, 90 %", "sparse int8, 90 %")
ROWS, ROUNDS = 32, 25
LABELS = 2


def matrix(random: np.random.Generator, name: str, rows: int, columns: int, form: str) -> dict[str, Any]:
    """Random weights in one form; of sparse ones a tenth stays."""
    weights = random.normal(0, columns**-0.5, (rows, columns)).astype("<f4")
    if "sparse" in form:
        weights[random.random(weights.shape) < 0.9] = 0
    if "f32" not in form:
        largest = 7 if form == "int4" else 127
        # A sparse row may have lost all its weights.
        scale = np.maximum(np.abs(weights).max(axis=1), 1e-9) / largest
        weights = np.round(weights / scale[:, None]).astype("i1")
    made: dict[str, Any] = {}
    if "f32" not in form:
        made = {f"{name}.scale": scale.astype("<f4"), f"{name}.input_scale": np.array([4 / 127], "<f4")}
    if "sparse" in form:
        places = np.nonzero(weights)
        made[f"{name}.values"] = weights[places]
        made[f"{name}.columns"] = places[1].astype("<u2")
        made[f"{name}.counts"] = np.bincount(places[0], minlength=rows).astype("<u2")
    elif form == "int4":
        made[name] = (weights[:, ::2] & 15 | weights[:, 1::2] << 4).view("u1")
    else:
        made[name] = weights
    return made


def artifact(form: str, dimensions: int, hidden: int, source: dict[str, Any]) -> bytes:
    """A classifier with random weights."""
    random = np.random.default_rng(0)
    tensors = {
        "cell.zeta": np.array([1.0], "<f4"),
        "cell.nu": np.array([-4.0], "<f4"),
        "cell.gate_bias": random.normal(size=hidden).astype("<f4"),
        "cell.update_bias": random.normal(size=hidden).astype("<f4"),
        "cell.activation": np.array([0], "u1"),
        **matrix(random, "cell.input_weight", hidden, dimensions, form),
        **matrix(random, "cell.recurrent_weight", hidden, hidden, form),
        "head.weight": random.normal(size=(LABELS, hidden)).astype("<f4"),
        "head.bias": np.zeros(LABELS, "<f4"),
    }
    header = {
        "format": _core.FORMAT,
        "kind": "classifier",
        "version": "0.0.0",
        "labels": [str(label) for label in range(LABELS)],
        "input": source,
        "model": {"kind": "fastgrnn"},
    }
    return _core.artifact_bytes(header, tensors)


def of_vectors(form: str, steps: int, dimensions: int, hidden: int) -> Callable[[], object]:
    """The engine on 32 sequences, their bytes at hand."""
    data = artifact(form, dimensions, hidden, {"kind": "vectors", "dimensions": dimensions})
    engine = _core.Classifier(data)
    values = np.random.default_rng(1).normal(size=(ROWS, steps, dimensions)).astype("<f4").tobytes()
    offsets = (np.arange(ROWS + 1, dtype="<i8") * steps * dimensions).tobytes()
    return lambda: engine.predict_vectors(values, offsets)


def seconds(work: Callable[[], object], calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def main() -> None:
    """All forms of the two sizes that have a target, and texts from Python."""
    left = np.random.default_rng(0).random((100, 384), np.float32)
    right = left[0].copy()
    works: dict[str, tuple[Callable[[], object], int, int]] = {"yardstick": (lambda: left @ right, 2000, 1)}
    for form in FORMS:
        works[f"{form}: 768 → 16, one step"] = (of_vectors(form, 1, 768, 16), 100, ROWS)
        works[f"{form}: 30 × 256 → 32"] = (of_vectors(form, 30, 256, 32), 10, ROWS)
    source = {"kind": "tokens", "encoder": _core.encoder().checksum, "most_steps": 64, "scale": 1 / 128}
    for form in ("f32", "int8"):
        texts = Classifier.from_bytes(artifact(form, _core.EMBEDDING_DIMENSIONS, 32, source))
        short, many = [SHORT], [f"{SHORT} {number}" for number in range(2000)]
        works[f"{form}: predict, one text of 30 tokens, 256 → 32"] = (
            lambda c=texts, t=short: c.predict(t),
            200,
            1,
        )
        works[f"{form}: predict, one text of 64 steps, 256 → 32"] = (lambda c=texts: c.predict([LONG]), 200, 1)
        works[f"{form}: predict_proba, 2,000 such texts"] = (lambda c=texts, t=many: c.predict_proba(t), 1, 2000)
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (work, calls, inputs) in works.items():
            rounds[name].append(seconds(work, calls) / inputs * 1e6)
    yardstick = rounds.pop("yardstick")
    figures: dict[str, Any] = {"yardstick_us": round(median(yardstick), 3), "an input": {}}
    for name, values in rounds.items():
        ratios = [own / other for own, other in zip(values, yardstick, strict=True)]
        figures["an input"][name] = {
            "us": round(median(values), 3),
            "least_us": round(min(values), 3),
            "ratio": round(median(ratios), 3),
        }
    sizes = {"kind": "vectors", "dimensions": 256}
    figures["artifact_bytes, 256 → 32"] = {form: len(artifact(form, 256, 32, sizes)) for form in FORMS}
    write(
        "fastgrnn",
        figures,
        "Median and least of 25 interleaved rounds. Targets: 768 → 16 ≤ 2 µs, 30 × 256 → 32 ≤ 25 µs. "
        "int4 and sparse are forms of the file: in memory they are int8 and dense.",
    )


if __name__ == "__main__":
    main()
