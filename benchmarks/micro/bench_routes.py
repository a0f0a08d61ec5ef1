"""Microseconds of one decision among routes, called from Python: a text among 150 routes, a ready vector among
many.

The 150 routes have a head of random weights as full as one of 15,000 rows (330,000 n-gram weights), an output for
none, an in-scope score and a mean vector a route. The many have one or three prototypes of 256 values each.
Medians of rounds in which all take turns, so that what else the machine does meets all alike; a decision lists
three routes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer import _core
from tiny_dancer.routing.semantic import encoder_spec

TEXT = "can you tell me how much money i have left in my checking account right now"
ROUNDS, CALLS, ROUTES, KEYS, DIMENSIONS = 30, 40, 150, 24_000, 256


def header(names: int, model: dict[str, Any], encoder: dict[str, Any]) -> dict[str, Any]:
    """Of routes ``r0``, ``r1``, …"""
    return {
        "format": _core.FORMAT,
        "kind": "routes",
        "version": "1.0.0",
        "routes": [{"name": f"r{at}"} for at in range(names)],
        "spec": _core.FEATURE_SPEC,
        "encoder": encoder,
        "model": model,
    }


def headed() -> _core.Routes:
    """A text's routes."""
    dice = np.random.default_rng(0)
    outputs = ROUTES + 1
    features = _core.featurise([TEXT])
    others = dice.choice(2 * _core.CHAR_BASE, KEYS, replace=False)
    keys = np.union1d(features.ngrams.astype(np.int64), others)
    present = np.zeros(2 * _core.CHAR_BASE, np.uint8)
    present[keys] = 1
    counts = dice.integers(1, 27, len(keys))
    entries = int(counts.sum())
    tensors = {
        "head.bias": dice.normal(size=outputs).astype("<f4"),
        "head.embedding": dice.integers(-127, 128, (outputs, DIMENSIONS)).astype(np.int8),
        "head.embedding_scale": np.full(outputs, 0.02, "<f4"),
        "head.ngrams": np.packbits(present, bitorder="little"),
        "head.ngram_counts": counts.astype("<u2"),
        "head.ngram_outputs": dice.integers(0, outputs, entries).astype(np.uint8),
        "head.ngram_weights": dice.integers(-127, 128, entries).astype(np.int8),
        "head.ngram_scale": np.full(2, 0.01, "<f4"),
        "prototypes": dice.integers(-127, 128, (ROUTES, DIMENSIONS)).astype(np.int8),
        "prototype_routes": np.arange(ROUTES, dtype="<u2"),
    }
    scope = {"weights": [0.1] * 7, "bias": 0.0, "false_alarms": 0.02, "thresholds": [[0.02, 0.1]]}
    spec = encoder_spec(None)
    head = header(ROUTES, {"kind": "head", "prototypes": 2.0, "none": True}, spec) | {"scope": scope}
    return _core.Routes(_core.artifact_bytes(head, tensors), _core.encoder_of(spec["checksum"]))


def many(routes: int, each: int) -> _core.Routes:
    """Routes by prototypes of another encoder."""
    dice = np.random.default_rng(0)
    tensors = {
        "prototypes": dice.integers(-127, 128, (routes * each, DIMENSIONS)).astype(np.int8),
        "prototype_routes": np.repeat(np.arange(routes), each).astype("<u2"),
    }
    spec = {"name": "toy", "dimension": DIMENSIONS}
    return _core.Routes(_core.artifact_bytes(header(routes, {"kind": "prototypes", "scale": 20.0}, spec), tensors))


def main() -> None:
    """All of them in turn."""
    vector = np.random.default_rng(1).normal(size=DIMENSIONS).astype("<f4").tobytes()
    text_routes = headed()
    asked = {"text, 150 routes": lambda: text_routes.decide(TEXT)}
    for each in (1, 3):
        for routes in (1_000, 10_000):
            engine = many(routes, each)
            name = f"vector, {routes:,} routes of {each} prototype{'s' * (each > 1)}"
            asked[name] = lambda engine=engine: engine.decide("", vector, "toy")
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, ask in asked.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                ask()
            taken[name].append((time.perf_counter() - begun) / CALLS * 1e6)
    figures: dict[str, Any] = {
        name: {"median": round(float(np.median(each)), 1), "least": round(min(each), 1)}
        for name, each in taken.items()
    }
    for each in ("1 prototype", "3 prototypes"):
        large, small = (figures[f"vector, {routes} routes of {each}"] for routes in ("10,000", "1,000"))
        figures[f"10,000 over 1,000 routes of {each}"] = round(large["least"] / small["least"], 1)
    write("routes_speed", figures, note=__doc__ or "")


if __name__ == "__main__":
    main()
