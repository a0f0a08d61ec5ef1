"""Decisions, batches, loading: as ratios to numpy's (100, 384) @ (384,) in float32, measured in the same run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer import Router, _core
from tiny_dancer.cli.bench import LONG, SHORT, _per_call, measure


def p99_over_p50(router: Router) -> float:
    """Of single decisions at 30 tokens, from Python."""
    times = []
    for _ in range(20_000):
        start = time.perf_counter_ns()
        router.route(SHORT)
        times.append(time.perf_counter_ns() - start)
    low, high = np.quantile(times, [0.5, 0.99])
    return float(high / low)


SCHEMA = {"type": "object", "properties": {"query": {"type": "string", "description": "What to look for."}}}
TOOLS = [
    {"type": "function", "function": {"name": f"find_{each}", "description": "Looks it up.", "parameters": SCHEMA}}
    for each in ("page", "person", "place", "word", "date")
]
MESSAGES: list[dict[str, str]] = [
    {"role": "system", "content": "You are a helpful assistant. " * 20},
    *({"role": ("user", "assistant")[turn % 2], "content": SHORT} for turn in range(11)),
]


def chat(router: Router) -> dict[str, float]:
    """Twelve chat messages, and five tools beside a text, as multiples of the yardstick.

    As Python's values, as the JSON bytes that a server has, and all in JSON: bytes in, the whole answer out.
    """
    matrix = np.random.default_rng(0).random((100, 384), np.float32)
    vector = matrix[0].copy()
    said, offered = json.dumps(MESSAGES).encode(), json.dumps(TOOLS)
    body = json.dumps({"messages": MESSAGES})
    ways = {
        "messages, Python values": lambda: router.route(MESSAGES),
        "messages, JSON bytes": lambda: router.decide(said),
        "messages, JSON in and out": lambda: router._engine.decide_json(body),
        "tools, Python values": lambda: router.route(SHORT, tools=TOOLS),
        "tools, JSON text": lambda: router.route(SHORT, tools=offered),
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(15):
        for name, way in ways.items():
            ratios[name].append(_per_call(way, 200) / _per_call(lambda: matrix @ vector, 1000))
    return {name: round(median(found), 2) for name, found in ratios.items()}


def load_milliseconds() -> tuple[float, float]:
    """(artifact with its self-checks, the encoder) from the file system's cache."""
    artifact = _core.data_file("default.safetensors")
    own, encoders = [], []
    _core.encoder()
    for _ in range(15):
        start = time.perf_counter()
        Router(artifact)
        own.append(time.perf_counter() - start)
        start = time.perf_counter()
        _core.Encoder(_core.data_file("encoder.safetensors"))
        encoders.append(time.perf_counter() - start)
    return median(own) * 1e3, median(encoders) * 1e3


def main() -> None:
    """The default artifact, and one that uses every backend."""
    from tiny_dancer import fit, read_outcomes

    sample = Path(__file__).parents[2] / "python/tiny_dancer/data/sample.parquet"
    outcomes = read_outcomes(sample)
    every = Router(fit(outcomes.rows(np.arange(900))).artifact)
    own, encoder = load_milliseconds()
    features = _core.featurise([SHORT, LONG])
    figures = {
        "tokens": [int(tokens) for tokens in features.tokens],
        "default artifact": {
            **{name: round(value, 2) for name, value in measure(Router.load()).items()},
            "bytes": len(_core.data_file("default.safetensors")),
            "p99 / p50 at 30 tokens": round(p99_over_p50(Router.load()), 2),
            "x yardstick": chat(Router.load()),
        },
        "artifact with all backends": {
            "backends": every.header["training"]["backends"],
            **{name: round(value, 2) for name, value in measure(every).items()},
        },
        "load_ms": {"artifact and self-checks": round(own, 2), "encoder, once a process": round(encoder, 2)},
    }
    write(
        "decisions",
        figures,
        "Targets: 30 tokens ≤ 10 × yardstick, 200 tokens ≤ 40 ×, batch ≥ 100,000/s on 2 cores, load ≤ 20 ms.",
    )


if __name__ == "__main__":
    main()
