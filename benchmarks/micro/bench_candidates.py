"""Ranking candidates from Python, decision objects included: as ratios to numpy's (n, 384) @ (384,) in the same
run.

Every feature is there: embeddings, text, times, use, confidence, metadata, neighbours. Rounds of both alternate,
and ratios are of medians, so that what else the machine does meets both alike.

Of 10,000 and 100,000 memories the engine's own set is asked, as storage keeps it: texts encoded by the static
encoder (256 values) with int8 rows beside, ranked by a text, and after one more was put in. The yardstick is then
(n, 256) @ (256,).
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer import Candidate, CandidateRouter, CandidateRouterConfig, CandidateSet, _core
from tiny_dancer.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

DIMENSIONS, HIDDEN, ROUNDS, CALLS = 384, 8, 40, 50
NOW = 1_700_000_000.0
FEATURES = len(_core.CANDIDATE_FEATURES)


def scorer(kind: str) -> bytes:
    """A calibrated scorer with random weights; ``fastgrnn int8`` has integer W and U."""
    random = np.random.default_rng(0)
    knots = np.sort(random.normal(size=64)).astype("<f4")
    tensors: dict[str, Any] = {
        "feature.mean": np.zeros(FEATURES, "<f4"),
        "feature.scale": np.ones(FEATURES, "<f4"),
        "calibration.scores": knots,
        "calibration.probabilities": np.linspace(0, 1, 64, dtype="<f4"),
        "relevance.relevant": np.sort(random.normal(size=1000)).astype("<f4"),
        "relevance.irrelevant": np.sort(random.normal(size=1000)).astype("<f4"),
    }
    if kind == "linear":
        tensors["linear.weight"] = random.normal(size=FEATURES).astype("<f4")
    else:
        for name, columns in (("cell.input_weight", FEATURES), ("cell.recurrent_weight", HIDDEN)):
            weights = random.normal(0, columns**-0.5, (HIDDEN, columns)).astype("<f4")
            if "int8" in kind:
                scale = np.abs(weights).max(axis=1) / 127
                tensors[f"{name}.scale"] = scale.astype("<f4")
                tensors[f"{name}.input_scale"] = np.array([4 / 127], "<f4")
                weights = np.round(weights / scale[:, None]).astype("i1")
            tensors[name] = weights
        tensors |= {
            "cell.zeta": np.array([1.0], "<f4"),
            "cell.nu": np.array([-4.0], "<f4"),
            "cell.gate_bias": random.normal(size=HIDDEN).astype("<f4"),
            "cell.update_bias": random.normal(size=HIDDEN).astype("<f4"),
            "cell.activation": np.array(["int8" in kind], "u1"),
            "head.weight": random.normal(size=(1, HIDDEN)).astype("<f4"),
            "head.bias": np.zeros(1, "<f4"),
        }
    rows = {"rows": 1000.0, "step": 1.0}
    header = {
        "format": _core.FORMAT,
        "kind": "candidates",
        "version": "0.0.0",
        "features": _core.CANDIDATE_FEATURE_SPEC,
        "scorer": kind.split()[0],
        "relevance": {"relevant": rows, "irrelevant": rows},
        "prediction": {"alpha": 0.1, "size": 10, "rows": 1000},
    }
    return _core.artifact_bytes(header, tensors)


def memories(count: int, *, quantised: bool = False) -> tuple[CandidateSet, str]:
    """Made-up memories of 25 words in sessions of 20, two speakers; and a question that shares some of their
    words."""
    random = np.random.default_rng(count)
    # Three thousand words of two to four syllables, as often as Zipf has it.
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
    words = ["".join(random.choice(syllables, random.integers(2, 5))) for _ in range(3000)]
    rank = 1 / np.arange(1, len(words) + 1)
    text = f"When did anna first mention {words[3]} and the {words[40]} {words[200]} from {words[900]}?"
    found = CandidateSet(
        (
            Candidate(
                f"memory-{row}",
                random.normal(size=DIMENSIONS).astype(np.float32),
                " ".join(random.choice(words, 25, p=rank / rank.sum())),
                NOW - 3600.0 * row,
                int(random.integers(20)),
                float(random.random()),
                int(random.integers(20)),
                float(random.random()),
                {"speaker": ("anna", "ben")[row % 2], "kind": "turn"},
                f"session-{row // 20}",
            )
            for row in range(count)
        ),
        quantised=quantised,
    )
    return found, text


def stored(count: int) -> tuple[dict[str, Callable[[], object]], npt.NDArray[np.float32]]:
    """Calls to a set of made-up texts of 10 to 30 words of 5,000, and the texts' embeddings."""
    random = np.random.default_rng(count)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
    words = ["".join(random.choice(syllables, random.integers(2, 5))) for _ in range(5000)]
    rank = 1 / np.arange(1, len(words) + 1)
    chosen = [random.choice(len(words), random.integers(10, 31), p=rank / rank.sum()) for _ in range(count + 1)]
    texts = [" ".join(words[place] for place in each) for each in chosen]
    embeddings = _core.encode(texts)
    found = _core.CandidateSet(_core.EMBEDDING_DIMENSIONS, "indexed")

    def put(first: int, last: int) -> None:
        rows = range(first, last)
        none: list[Any] = [None] * len(rows)
        columns: _core.CandidateColumns = (
            [f"memory-{row}" for row in rows],
            [texts[row] for row in rows],
            [NOW - 3600.0 * row for row in rows],
            *(none, none, none, none),
            [{"half": row % 2, "user_id": row % 50, "ticket": row % 1000, "size": row} for row in rows],
            *(none, none, none, none),
        )
        found.apply([], columns, embeddings[first:last])

    put(0, count)
    scorer, encoder = _core.CandidateScorer(), _core.encoder()
    asked = [f"when did {' '.join(text.split()[:8])}?" for text in texts[:40]]
    filters: dict[str, dict[str, Any]] = {
        "99.9% pass": {"ticket": {"$ne": 7}},
        "50% pass": {"half": 0},
        "50% pass, by order": {"size": {"$gte": count // 2}},
        "2% pass": {"user_id": 7},
        "0.1% pass": {"ticket": 7},
        "0.001% pass": {"size": 7},
    }
    turn = 0

    def rank_one(where: _core.CandidateFilter | None = None) -> None:
        nonlocal turn
        turn += 1
        scorer.rank(found, None, asked[turn % len(asked)], None, NOW, encoder, 5, where=where)

    def put_and_rank() -> None:
        put(count, count + 1)
        rank_one()
        found.remove([f"memory-{count}"])

    calls: dict[str, Callable[[], object]] = {"text": rank_one}
    for name, expression in filters.items():
        calls[f"text, {name}"] = functools.partial(rank_one, _core.CandidateFilter(expression))
    return calls | {"one put in, text, one taken out": put_and_rank}, embeddings[:count]


def microseconds(
    calls: dict[str, Callable[[], object]], rounds: int = ROUNDS, each_round: int = CALLS
) -> dict[str, np.ndarray]:
    """Each call's times in µs, rounds alternating."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(each_round):
            call()
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(each_round):
                start = time.perf_counter_ns()
                call()
                found[name].append((time.perf_counter_ns() - start) / 1000)
    return {name: np.array(times) for name, times in found.items()}


def summed_up(times: dict[str, np.ndarray]) -> dict[str, Any]:
    yardstick = float(np.median(times["yardstick"]))
    return {
        "yardstick_us": round(yardstick, 2),
        **{
            name: {
                "p50_us": round(float(np.median(each)), 2),
                "p50_over_yardstick": round(float(np.median(each)) / yardstick, 2),
                "p99_over_p50": round(float(np.quantile(each, 0.99) / np.median(each)), 2),
            }
            for name, each in times.items()
            if name != "yardstick"
        },
    }


def main() -> None:
    query = np.random.default_rng(9).normal(size=DIMENSIONS).astype(np.float32)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        routers = {"default": CandidateRouter()}
        for kind in ("linear", "fastgrnn f32", "fastgrnn int8"):
            path = Path(folder) / f"{kind}.safetensors"
            path.write_bytes(scorer(kind))
            routers[kind] = CandidateRouter(CandidateRouterConfig(model_path=path))
        recorded = CandidateRouter(
            CandidateRouterConfig(model_path=Path(folder) / "fastgrnn f32.safetensors"), storage=MemoryStorage()
        )
        learned = routers["fastgrnn f32"]
        for count in (100, 1000):
            matrix = np.random.default_rng(count).normal(size=(count, DIMENSIONS)).astype(np.float32)
            found, text = memories(count)
            small, _ = memories(count, quantised=True)
            asked: dict[str, Any] = {"metadata": {"kind": "turn"}, "text": text, "now": NOW}
            calls: dict[str, Callable[[], object]] = {"yardstick": lambda matrix=matrix: matrix @ query}
            for kind, router in routers.items():
                calls[kind] = lambda router=router, found=found, asked=asked: router.route(query, found, **asked)
            calls |= {
                "fastgrnn f32, embedding only": lambda found=found, asked=asked: learned.route(
                    query, found, now=NOW
                ),
                "fastgrnn f32, int8 embeddings": lambda small=small, asked=asked: learned.route(
                    query, small, **asked
                ),
                "fastgrnn f32, recorded": lambda found=found, asked=asked: recorded.route(query, found, **asked),
                "fastgrnn f32, diversity .3": lambda found=found, asked=asked: learned.route(
                    query, found, diversity=0.3, **asked
                ),
            }
            figures[f"{count} candidates"] = summed_up(microseconds(calls))
        recorded.close()
    for count in (10_000, 100_000):
        calls, matrix = stored(count)
        query = matrix[0]
        calls = {"yardstick": lambda matrix=matrix, query=query: matrix @ query, **calls}
        figures[f"{count} memories"] = summed_up(microseconds(calls, 20, 200_000 // count))
    note = "top 5 of n x 384, from Python: features, scorer, calibration, conformal sets, decision objects"
    write("candidates_speed", figures, note)


if __name__ == "__main__":
    main()
